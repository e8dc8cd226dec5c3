"""Stands under the name of a program where `warm.directory` puts it: asks the server beside it to be that program."""

import json
import os
import signal
import socket
import sys
from pathlib import Path

program = Path(sys.argv[0])
words = sys.argv[1:]
if program.name != "python":
    words.insert(0, str(Path(sys.executable).with_name(program.name)))
with socket.socket(socket.AF_UNIX) as server:
    server.connect(str(program.with_name("socket")))
    socket.send_fds(server, [b"."], [0, 1, 2])
    server.sendall(json.dumps([words, str(Path.cwd()), dict(os.environ)]).encode() + b"\n")
    for sent in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sent, lambda number, _: server.send(bytes([number])))
    code = int(server.makefile().readline() or 70)
if code < 0:
    if -code != signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
