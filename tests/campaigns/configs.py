"""Malformed configs, made by seeded mutations of the valid ones in config/.

    PYTHONPATH=workflow:tests python -m tests.campaigns.configs [MUTATIONS] [SEED]

Each must be refused in lines that name a file and say what to do, or be a config of plain meaning, and either in
bounded time and memory. The exit code is 1 if one is not.
"""

import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from prunebench.config.schema import read_config
from prunebench.errors import PrunebenchError
from prunebench.identity.canonical import canonical
from prunebench.names import unseen
from prunebench.plan import graph, paths
from prunebench.plan.plan import Plan, load_plan

REPOSITORY = Path(__file__).parents[2]
SECONDS = 20
"""The longest time that a config may take, on a busy machine."""
MEGABYTES = 400
"""The largest growth of memory over all configs."""
LONGEST_LINE = 1500
"""The greatest number of characters of a line of a refusal."""
CONFIGS = (
    "config/config.yaml",
    "config/studies/smoke.yaml",
    "config/studies/sparsellm-tuning.yaml",
    "config/studies/dsa-search.yaml",
    "config/studies/rounding.yaml",
    "config/studies/sparsellm-mini.yaml",
)
CATALOGS = tuple(f"config/catalog/{path.name}" for path in sorted((REPOSITORY / "config/catalog").glob("*.yaml")))

Random = random.Random
Path_ = tuple[str | int, ...]
HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3.5, -0.0, 1e308, float("inf"), float("-inf"), float("nan"), 10**30, -(10**30)),
    *([], {}, [[]], [None], {"": ""}, {"kind": "path"}, [True], [1, "1"], {"a": {"b": {"c": []}}}),
    *("", " ", "\n", "a\nb", "\0", "\x1b[31mred", "\u202egnp", "\ud800", "é", "模型", "a" * 5000, "ab" * 40, "0" * 90),
    *(
        "../victim",
        "/etc/passwd",
        "/dev/null",
        "/dev/zero",
        "a/../../b",
        "..",
        ".",
        "~",
        "a\\b",
        "-rf",
        "--proxy=x",
    ),
    *("{x}", "{model}", "{0}", "%s", "$(id)", "`id`", "; id", "| id", "a'b", 'a"b', "<script>alert(1)</script>"),
    *("=1+1", "@SUM(A1)", "x.measured", "x.json", "x.parts", "X", "con", "ppl.measured", "best", "none", "all"),
    *("2of4", "4of2", "1of99999999999999999999", "2:4", 124, "0.5", ".5", "5e-1", "1e999", "0x10", "1_000", "-0.0"),
    *("c4_type_16x512", "c4_type_1x1", "c4_type_99999999x512", "c4_type_0x0", "wikipedia_1x999999", "c4_type_-1x2"),
    *(0.505, "0.995", 1.0, "NaN", "yes", "2026-13-45", list(range(300)), [0.5] * 50, "!!python/object:os.system"),
)
TEXTS: tuple[tuple[str, Callable[[str], bytes]], ...] = (
    ("UTF-16", lambda text: text.encode("utf-16")),
    ("UTF-16 without a mark", lambda text: text.encode("utf-16-le")),
    ("UTF-32", lambda text: text.encode("utf-32")),
    ("Latin-1", lambda text: f"# caf\xe9\n{text}".encode("latin-1", "replace")),
    ("cp1252", lambda text: text.encode() + b"\n# \x80\x93\n"),
    ("a zero byte", lambda text: f"{text}\0".encode()),
    ("an escape", lambda text: f"# \x1b[2J\n{text}".encode()),
    ("a tab", lambda text: text.replace("  ", "\t", 3).encode()),
    ("deep lists", lambda text: f"{text}\ndeep: {'[' * 100_000}".encode()),
    ("deep mappings", lambda text: f"{text}\ndeep: {'{a: ' * 100_000}".encode()),
    ("deep blocks", lambda text: (f"{text}\n" + "".join(f"{' ' * i}a:\n" for i in range(1500))).encode()),
    ("a circle", lambda text: f"{text}\ncircle: &c {{inside: [*c]}}\n".encode()),
    ("a circle of keys", lambda text: f"{text}\n? &k [*k]\n: 1\n".encode()),
    ("an anchor bomb", lambda text: f"{text}\n{bomb('[{}]')}".encode()),
    ("a bomb of mappings", lambda text: f"{text}\n{bomb('{{{}}}')}".encode()),
    ("a bomb of merges", lambda text: f"{text}\n{merges()}".encode()),
    ("a chain of references", lambda text: f"{text}\n{chain(3000)}".encode()),
    ("a large file", lambda text: f"{text}\n{'# ' + 'x' * 10_000_000}\n".encode()),
    ("many keys", lambda text: (f"{text}\n" + "".join(f"k{i}: {i}\n" for i in range(150_000))).encode()),
    ("a long number", lambda text: f"{text}\nmax_cells: {'9' * 6000}\n".encode()),
    ("a long key", lambda text: f"{text}\n? {'k' * 100_000}\n: 1\n".encode()),
    ("two documents", lambda text: f"{text}\n---\nstudies: {{}}\n".encode()),
    ("a key twice", lambda text: f"{text}\nkeep_weights: none\nkeep_weights: mask\n".encode()),
    ("a key twice in a flow", lambda text: f"{text}\ncompute: {{threads: 1, batch_size: 8, threads: 2}}\n".encode()),
    ("a tag", lambda text: f"{text}\ncompute: !!python/object/apply:os.system ['true']\n".encode()),
    ("a tag of numbers", lambda text: f"{text}\nmax_cells: !!int 'abc'\n".encode()),
    ("a template", lambda text: f"__use_yte__: true\n{text}".encode()),
    ("nothing", lambda text: b""),
    ("a text", lambda text: b"just a text\n"),
    ("a list", lambda text: b"- a\n- b\n"),
    ("false", lambda text: b"false\n"),
    ("a percent", lambda text: f"%YAML 9.9\n---\n{text}".encode()),
)
SAME: tuple[tuple[str, Callable[[str], bytes]], ...] = (
    ("a byte order mark", lambda text: text.encode("utf-8-sig")),
    ("line ends of Windows", lambda text: text.replace("\n", "\r\n").encode()),
    ("a comment", lambda text: f"# one more\n{text}\n# and one\n".encode()),
    ("JSON", lambda text: json.dumps(yaml.safe_load(text)).encode()),
    ("written again", lambda text: yaml.safe_dump(yaml.safe_load(text), sort_keys=False, allow_unicode=True).encode()),
    ("references", lambda text: Anchored.dump(yaml.safe_load(text)).encode()),
    ("keys in another order", lambda text: yaml.safe_dump(yaml.safe_load(text), allow_unicode=True).encode()),
    ("a start and an end", lambda text: f"---\n{text}\n...\n".encode()),
)


class Anchored(yaml.SafeDumper):
    """Writes equal values once, with references to them."""

    @classmethod
    def dump(cls, value: Any) -> str:
        known: dict[str, Any] = {}

        def shared(node: Any) -> Any:
            if isinstance(node, dict):
                node = {key: shared(part) for key, part in node.items()}
            elif isinstance(node, list):
                node = [shared(part) for part in node]
            else:
                return node
            return known.setdefault(json.dumps(node), node)

        return yaml.dump(shared(value), Dumper=cls, sort_keys=False)


def bomb(form: str, levels: int = 12, width: int = 12) -> str:
    """References to references: a dozen lines that mean a dozen to the power of a dozen values."""
    pairs = form.startswith("{")
    lines = [f"b0: &b0 {form.format('a: 1' if pairs else '1')}"]
    for level in range(1, levels):
        inside = (f"k{i}: *b{level - 1}" if pairs else f"*b{level - 1}" for i in range(width))
        lines.append(f"b{level}: &b{level} {form.format(', '.join(inside))}")
    return "\n".join(lines) + "\n"


def merges(levels: int = 12, width: int = 12) -> str:
    """Merged mappings of merged mappings."""
    lines = ["m0: &m0 {a: 1}"]
    for level in range(1, levels):
        lines.append(f"m{level}: &m{level} {{<<: [{', '.join([f'*m{level - 1}'] * width)}]}}")
    return "\n".join(lines) + "\n"


def chain(length: int) -> str:
    """References that nest lists although no line does."""
    return "".join(["c0: &c0 [1]\n", *(f"c{i}: &c{i} [*c{i - 1}]\n" for i in range(1, length))])


@dataclass(frozen=True)
class Mutant:
    """A mutated file: its name below the tree, its bytes, what was done to it, and whether its meaning must stay."""

    file: str
    content: bytes
    what: str
    same: bool = False


@dataclass
class Counts:
    """The counts of a campaign."""

    tried: int = 0
    refused: int = 0
    valid: int = 0
    wrong: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return (
            f"configs: {self.tried} tried, {self.refused} refused clearly, {self.valid} valid, {len(self.wrong)} wrong"
        )


def mutants(number: int, seed: int) -> Iterator[Mutant]:
    """Yield each kind of damage to a text once, then mutations of keys, values and bytes up to `number`."""
    rng = Random(seed)
    texts = {name: (REPOSITORY / name).read_text(encoding="utf-8") for name in (*CONFIGS, *CATALOGS)}
    fixed = [(what, make, False) for what, make in TEXTS] + [(what, make, True) for what, make in SAME]
    for count in range(number):
        # Configs are mutated twice as often as catalogs.
        file = rng.choice(CONFIGS if rng.random() < 0.67 else CATALOGS)
        if count < len(fixed):
            what, make, same = fixed[count]
            yield Mutant(file, make(texts[file]), what, same)
        elif rng.random() < 0.35:
            yield bytes_changed(file, texts[file], rng)
        else:
            yield tree_changed(file, yaml.safe_load(texts[file]), rng)


def bytes_changed(file: str, text: str, rng: Random) -> Mutant:
    """Change bytes or lines at random."""
    content, lines = bytearray(text.encode()), text.splitlines(keepends=True)
    kind = rng.choice(("flip", "cut", "delete bytes", "insert", "delete line", "repeat line", "swap lines", "indent"))
    at, line = rng.randrange(len(content)), rng.randrange(len(lines))
    if kind == "flip":
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del content[at:]
    elif kind == "delete bytes":
        del content[at : at + rng.randint(1, 30)]
    elif kind == "insert":
        content[at:at] = rng.choice(
            (b"\0", b"\xff", b"\t", b"{", b"]", b"&a ", b"*a ", b": ", b"'", b"\xc2\x85", b"- ")
        )
    else:
        if kind == "delete line":
            del lines[line]
        elif kind == "repeat line":
            lines.insert(line, lines[line])
        elif kind == "swap lines":
            other = rng.randrange(len(lines))
            lines[line], lines[other] = lines[other], lines[line]
        else:
            lines[line] = " " * rng.randint(1, 3) + lines[line]
        content = bytearray("".join(lines).encode())
    return Mutant(file, bytes(content), f"{kind} at byte {at}, line {line + 1}")


def places(node: Any, at: Path_ = ()) -> Iterator[Path_]:
    """Yield the place of each value inside `node`."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield (*at, key)
        yield from places(value, (*at, key))


def tree_changed(file: str, tree: Any, rng: Random) -> Mutant:
    """Change a key or a value at random."""
    before, what = deepcopy(tree), ""
    while repr(tree) == repr(before):
        what = change(tree, rng)
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=rng.random() < 0.5, width=rng.choice((40, 120)))
    return Mutant(file, text.encode("utf-8", "surrogatepass"), what)


def change(tree: Any, rng: Random) -> str:
    """Change a key or a value of `tree` at random, and say what was done."""
    place = rng.choice(list(places(tree)))
    node = tree
    for part in place[:-1]:
        node = node[part]
    key, value = place[-1], node[place[-1]]
    kind = rng.choice(("hostile", "hostile", "hostile", "delete", "rename", "retype", "nest", "copy", "long"))
    if kind == "hostile":
        node[key] = rng.choice(HOSTILE)
    elif kind == "delete":
        del node[key]
    elif kind == "rename" and isinstance(node, dict):
        words = [word for word in HOSTILE if isinstance(word, str)]
        new = rng.choice((*words, f"{key}x", f"{key}.measured", f"{key}.json", 7, None))
        renamed = {new if name == key else name: part for name, part in node.items()}
        node.clear()
        node.update(renamed)
    elif kind == "retype":
        node[key] = rng.choice((str(value), [value], {"value": value}, {str(value)[:50]: None}, [value, value]))
    elif kind == "nest":
        for _ in range(rng.choice((1, 3, 60))):
            node[key] = [node[key]]
    elif kind == "copy":
        other: Any = tree
        for part in rng.choice(list(places(tree))):
            other = other[part]
        node[key] = deepcopy(other)
    elif isinstance(value, list) and value:
        node[key] = [rng.choice(value) for _ in range(rng.choice((2, 40)))]
    return f"{kind} at {'.'.join(map(str, place))}: {node.get(key) if isinstance(node, dict) else node!r}"[:200]


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in the code inside after `seconds`."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"more than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def summary(plan: Plan) -> dict[str, str]:
    """The spec of each job but those that hold the text of the config."""
    jobs = graph.jobs(plan)
    return {str(job): job.spec for job in jobs if job.rule not in ("collect", "tables", "figures", "report", "strict")}


def load(root: Path, config: str) -> Plan:
    """Make a plan as `snakemake` and the commands do."""
    return load_plan(read_config(root / config), config, root / "config/catalog")


def complaint(error: PrunebenchError) -> str | None:
    """Name the fault of a refusal; None if the refusal is clear."""
    lines = str(error).split("\n")
    for line in lines:
        if unseen(line) is not None:
            return f"a line has a character that cannot be seen: {line!r}"
        if len(line) > LONGEST_LINE:
            return f"a line has {len(line)} characters: {line[:300]}"
        place, colon, rest = line.partition(": ")
        if ("config/" not in place and not place.startswith("there is no")) or not colon or not rest.strip():
            return f"a line names no file and mistake: {line[:300]}"
    return None


def flaw(plan: Plan) -> str | None:
    """Name the fault of an accepted config; None if the config means something plain."""
    files: dict[str, str] = {}
    for job in graph.jobs(plan):
        canonical(job.spec)
        assert job.threads >= 1 and job.tokens >= 0
        for name, pattern in job.writes.items():
            path = job.output(name).path
            if not paths.expression(pattern).fullmatch(path):
                return f"{path} is no path of {pattern}"
            if other := files.get(path.lower()):
                return f"{path} belongs to {job} and {other}"
            files[path.lower()] = str(job)
    if crossing := next((path for path in files if any(str(parent) in files for parent in Path(path).parents)), None):
        return f"{crossing} is in a directory that is a file"
    return None


def judge(root: Path, mutant: Mutant, plans: dict[str, dict[str, str]]) -> tuple[str, str | None]:
    """Say whether a mutated file was refused or valid, and name the fault in that; None if there is no fault."""
    config = mutant.file if mutant.file in CONFIGS else CONFIGS[0]
    (root / mutant.file).write_bytes(mutant.content)
    try:
        with limited(SECONDS):
            plan = load(root, config)
            problem = flaw(plan)
            if read_config(root / mutant.file) != (
                yaml.load(mutant.content.decode("utf-8-sig"), yaml.CSafeLoader) or {}
            ):
                problem = "it was read as something else"
            if mutant.same and summary(plan) != plans[config]:
                problem = "the meaning changed"
        return "valid", problem
    except PrunebenchError as error:
        return "refused", "it was valid before" if mutant.same else complaint(error)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return "refused", f"{type(error).__name__}: {str(error)[:300]}"
    finally:
        shutil.copyfile(REPOSITORY / mutant.file, root / mutant.file)


def special_files(root: Path, counts: Counts) -> None:
    """Try things that are no files of text in place of a config, of a catalog and of the path of a corpus."""
    (root / "directory").mkdir()
    os.mkfifo(root / "pipe")
    (root / "loop").symlink_to(root / "loop")
    (root / "closed").mkdir()
    (root / "closed/config.json").symlink_to("/dev/zero")
    names = ["/dev/null", "/dev/zero", "/dev/random", "/dev/stdin", "/proc/self/mem", "directory", "pipe", "loop"]
    names += ["missing.yaml", "closed", "x" * 5000, f"{'d/' * 2500}x", "a\0b", "", " ", "{x}", "a\nb"]
    for name in names:
        for what in ("config", "models", "corpora"):
            counts.tried += 1
            try:
                with limited(SECONDS):
                    if what == "config":
                        load_plan(read_config(Path(name) if name.startswith("/") else root / name), "config/x.yaml")
                        outcome = "valid"
                    else:
                        path = name if name.startswith("/") or not name.strip() else str(root / name)
                        raw = read_config(root / CONFIGS[0])
                        source = {"kind": "path", "path": path}
                        entry = {"models": {"title": "Mine", "family": "llama", "source": source}}
                        entry["corpora"] = {"title": "Mine", "source": source, "documents": "lines"}
                        name_of = {"models": "smollm2_135m", "corpora": "c4_type"}[what]
                        plan = load_plan({**raw, what: {name_of: entry[what]}}, CONFIGS[0], root / "config/catalog")
                        outcome = "valid" if flaw(plan) is None else "wrong"
                complained = None if outcome == "valid" and what == "corpora" else "it was accepted"
            except PrunebenchError as error:
                complained = None if "\n" not in str(error) and len(str(error)) < LONGEST_LINE else f"unclear: {error}"
                outcome = "refused"
            except BaseException as error:
                complained, outcome = f"{type(error).__name__}: {str(error)[:200]}", "refused"
            if complained:
                counts.wrong.append(f"{what} {name[:40]!r}: {complained}")
            elif outcome == "refused":
                counts.refused += 1
            else:
                counts.valid += 1


def campaign(number: int, seed: int = 0) -> Counts:
    """Try `number` mutations and the special files."""
    counts = Counts()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        shutil.copytree(REPOSITORY / "config", root / "config")
        plans = {config: summary(load(root, config)) for config in CONFIGS}
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for mutant in mutants(number, seed):
            outcome, problem = judge(root, mutant, plans)
            counts.tried += 1
            counts.kinds[f"{mutant.what.split(' at ')[0]}: {outcome}"] += 1
            if problem:
                counts.wrong.append(f"{mutant.file}: {mutant.what}: {problem}")
            elif outcome == "refused":
                counts.refused += 1
            else:
                counts.valid += 1
        special_files(root, counts)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        if grown > MEGABYTES:
            counts.wrong.append(f"memory grew by {grown:.0f} MB")
    return counts


def main() -> int:
    """Run the campaign and print one line of counts, and a line for each wrong outcome."""
    number, seed = (*map(int, sys.argv[1:3]), *(300, 0)[len(sys.argv[1:3]) :])
    counts = campaign(number, seed)
    for line in counts.wrong:
        print(line.encode("ascii", "backslashreplace").decode(), file=sys.stderr)
    print(counts)
    return 1 if counts.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
