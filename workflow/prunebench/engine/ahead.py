"""Tensors that a thread reads from the disk while the device computes with the tensors before them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from torch import Tensor

Named = Iterator[tuple[str, Tensor]]
"""The tensors of a block by name, each of which is read when it is asked for."""


class Ahead:
    """At most one block that is read ahead of its use."""

    def __init__(self) -> None:
        self._reading: _Reading | None = None

    def begin(self, index: int, tensors: Named) -> None:
        """Read the tensors of block `index` in a thread. A block that is read ahead and was not taken is dropped."""
        self.stop()
        self._reading = _Reading(index, tensors)
        self._reading.start()

    def take(self, index: int) -> dict[str, Tensor] | None:
        """Wait for block `index` and give it away; None if it is not read ahead. Raises the error of its reading."""
        reading = self._reading
        if reading is None or reading.index != index:
            return None
        reading.join()
        self._reading = None
        if reading.error is not None:
            raise reading.error
        return reading.tensors

    def stop(self) -> None:
        """Drop the block that is read ahead, if any, once the tensor is read that is being read."""
        if self._reading is not None:
            self._reading.stopped = True
            # The thread may be the last that holds the owner of this object, whose end stops it.
            if self._reading is not threading.current_thread():
                self._reading.join()
            self._reading = None


class _Reading(threading.Thread):
    """Reads a block. Being a daemon, it does not keep a process alive that ends."""

    def __init__(self, index: int, tensors: Named) -> None:
        super().__init__(name=f"reads block {index}", daemon=True)
        self.index, self.stopped = index, False
        self.tensors: dict[str, Tensor] = {}
        self.error: BaseException | None = None
        self._source: Named | None = tensors

    def run(self) -> None:
        source, self._source = self._source, None
        assert source is not None
        try:
            for name, tensor in source:
                if self.stopped:
                    return
                self.tensors[name] = tensor
        except BaseException as error:  # it belongs to the thread that needs the block
            self.error = error.with_traceback(None)  # which would hold the model
