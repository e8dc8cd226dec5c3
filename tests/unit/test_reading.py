"""Files of users are read in bounded time and memory; what YAML would accept in silence is refused with its line."""

import os
from pathlib import Path

import pytest

from prunebench.config.reading import read_yaml
from prunebench.config.schema import read_config
from prunebench.errors import PrunebenchError
from tests.campaigns.configs import TEXTS, bomb, chain, merges

VALID = "a: 1\nb: {c: [1, 2]}\n"
LINE_3: list[tuple[str, str]] = [
    ("a: 2", "the key 'a' stands here again, after line 1: delete one of them"),
    ("'a': 2", "the key 'a' stands here again"),
    ("z: {x: 1, y: 2, x: 3}", "the key 'x' stands here again, after line 3"),
    ("z: [{x: 1, x: 3}]", "the key 'x' stands here again"),
    ("z: {1: a, 1.0: b}", "the key 1.0 stands here again"),
    ("z: {yes: a, true: b}", "the key True stands here again"),
    ("z: .nan", ".nan is not a finite number: write a number"),
    ("z: [-.inf]", "-.inf is not a finite number"),
    ("z: 1.0e+999", "1.0e+999 is not a finite number"),
    ("z: 1000000000000000000000000000000", "is too large: write a smaller one"),
    (f"z: {'9' * 6000}", "looks like a number or date, but is none: put it into quotes"),
    ("z: 2026-13-45", "2026-13-45 looks like a number or date, but is none: put it into quotes"),
    ("z: 0x_", "looks like a number or date, but is none"),
    ("? [a, b]\n: 1", "a list or mapping is no key: write a text"),
    (f"z: {'[' * 31}{']' * 31}", "more than 30 lists or mappings are inside each other"),
    (f"z: {'[' * 300_000}", "more than 30 lists or mappings are inside each other"),
    (f"z: {'{a: ' * 300_000}", "more than 30 lists or mappings are inside each other"),
    ("z: &z [*z]", "a reference (*name) leads into the value that it stands in"),
    ("z: {x: *all, y: *all}", "line 3: *all refers to a value that is not there: the line that defines it (&all) was"),
    ("z: [*all, &all 2]", "Write &all and the value here"),
    ("z: &z {y: {x: *z}}", "a reference (*name) leads into the value that it stands in"),
    ("z: !!python/object/apply:os.system ['true']", "this is not valid YAML: could not determine a constructor"),
    ("z: \t1: 2", "this is not valid YAML"),
    ("--- \nz: 1", "a second YAML document ('---') begins here: write one document"),
    ("z: \0", "the character '\\x00' may not stand here: delete it"),
    ("# \x1b[2J", "the character '\\x1b' may not stand here"),
    ("# \u202egnp", "the character '\\u202e' may not stand here"),
]


def message(tmp_path: Path, content: str | bytes) -> str:
    """The message about a file with this content, without the name of the file."""
    file = tmp_path / "config.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    with pytest.raises(PrunebenchError) as error:
        read_yaml(file)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    return str(error.value).removeprefix(str(file))


@pytest.mark.parametrize(("line", "expected"), LINE_3, ids=lambda text: text[:40])
def test_a_line_is_refused_with_its_number(tmp_path: Path, line: str, expected: str) -> None:
    said = message(tmp_path, f"{VALID}{line}\n")
    assert said.startswith(", line 3: ") and expected in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (bomb("[{}]"), "with its references (*name) this has more than 200000 values"),
        (bomb("{{{}}}"), "with its references (*name) this has more than 200000 values"),
        (merges(), "with its references (*name) this has more than 200000 values"),
        (chain(3000), "more than 30 lists or mappings are inside each other"),
        ("".join(f"k{i}: [1, 2, 3]\n" for i in range(60_000)), "there are more than 200000 values: split the file"),
        ("#" * 5_000_000, "has 5000000 bytes, more than the 4194304 that a config or catalog may have"),
        (VALID.encode("utf-16"), ", line 1: this is not UTF-8 text (invalid start byte): save it as UTF-8"),
        (f"{VALID}# caf\xe9\n".encode("latin-1"), ", line 3: this is not UTF-8 text"),
    ],
    ids=("bomb", "bomb of mappings", "merges", "chain", "many", "large", "UTF-16", "Latin-1"),
)
def test_too_much_and_other_encodings_are_refused(tmp_path: Path, text: str | bytes, expected: str) -> None:
    assert expected in message(tmp_path, text)


def test_every_text_of_the_campaign_is_read_or_refused(tmp_path: Path) -> None:
    for _, make in TEXTS:
        (tmp_path / "a.yaml").write_bytes(make(VALID))
        try:
            read_yaml(tmp_path / "a.yaml")
        except PrunebenchError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        ("# nothing\n", {}),
        ("false", False),
        ("{a: &x [1], b: *x}", {"a": [1], "b": [1]}),
        ("a: &x {k: 1, l: 2}\nb: {<<: *x, l: 3}", {"a": {"k": 1, "l": 2}, "b": {"k": 1, "l": 3}}),
        ('{"a": [1, 2.5, null, true, "x"]}', {"a": [1, 2.5, None, True, "x"]}),
        ("\ufeffa: é", {"a": "é"}),
        ("a: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
    ],
)
def test_what_is_plain_is_read(tmp_path: Path, text: str, value: object) -> None:
    (tmp_path / "a.yaml").write_bytes(text.encode())
    assert read_yaml(tmp_path / "a.yaml") == value


def test_a_config_with_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"__use_yte__: true\n{VALID}")
    with pytest.raises(PrunebenchError, match="'__use_yte__' has Snakemake run Python from a config"):
        read_config(tmp_path / "a.yaml")


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("/dev/null", "/dev/zero", "/dev/random", tmp_path, tmp_path / "pipe", "/proc/self/mem"):
        with pytest.raises(PrunebenchError, match=r"no regular file|cannot be read"):
            read_config(Path(name))
    for name in ("x" * 5000, tmp_path / "loop", tmp_path / "missing.yaml"):
        with pytest.raises(PrunebenchError, match="there is no") as error:
            read_config(Path(name))
        assert len(str(error.value)) < 700
