"""Variables that a job sets before libraries read them."""

from pathlib import Path

import pytest
import torch

from prunebench.runtime.script import HUGE_PAGES, THREAD_VARIABLES, set_environment


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment of one variable, which stands in for that of this process."""
    variables = {"OMP_NUM_THREADS": "7"}
    monkeypatch.setattr("prunebench.runtime.script.os.environ", variables)
    return variables


def test_libraries_take_the_threads_of_the_job(environment: dict[str, str]) -> None:
    set_environment(3)
    assert {name: environment[name] for name in THREAD_VARIABLES} == dict.fromkeys(THREAD_VARIABLES, "3")


def test_tensors_are_in_huge_pages_unless_the_user_says_otherwise(environment: dict[str, str]) -> None:
    set_environment(1)
    assert environment[HUGE_PAGES] == "1"
    environment[HUGE_PAGES] = "0"
    set_environment(1)
    assert environment[HUGE_PAGES] == "0"


def test_the_installed_torch_reads_the_variable_of_huge_pages() -> None:
    library = next((Path(torch.__file__).parent / "lib").glob("*c10.*"))
    assert HUGE_PAGES.encode() in library.read_bytes()
