"""The finished tree: the whole pipeline run once, for real, on tiny models; tests work on copies of it."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import warm
from dag.tree import Tree
from hub_server import HubServer, Repository, serving
from prunebench.storage.locks import in_turn

# Read when torch is loaded: the workers of pytest-xdist share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Each run has equal examples, so that a rare failure does not fall on a change that has nothing to do with it. No
# example has a deadline, which a busy machine would miss.
# --hypothesis-profile=default takes random ones.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")

CPU = "cpu"
GOLDEN = "tests/golden/test_nothing.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the device of models, which the tests of tests/contract and tests/gpu take."""
    parser.addoption("--device", default=CPU, help="where models run: cpu, cuda, or standin (see tests/standin.py)")


@pytest.fixture
def device_name(request: pytest.FixtureRequest) -> str:
    """The device on which models open."""
    return str(request.config.getoption("--device"))


@pytest.fixture(autouse=True)
def device(device_name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Models open on the device; the stand-in is present for as long as the test lasts."""
    with ExitStack() as stack:
        if device_name != CPU:
            import tiny

            monkeypatch.setattr(tiny, "DEVICE", device_name)
        if device_name == "standin":
            import standin

            stack.enter_context(standin.present())
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Everything that the tiny study wants, made by snakemake; once for all workers of pytest-xdist."""
    directory = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        directory = directory.parent
    tree, done = Tree(directory / "finished"), directory / "finished.done"
    with in_turn(tree.root, "the finished tree"):
        if not done.exists():
            _finish(Tree.create(tree.root))
            done.touch()
    return tree


def _finish(tree: Tree) -> None:
    tree.add_inputs()
    (tree.root / GOLDEN).parent.mkdir(parents=True)
    (tree.root / GOLDEN).write_text("def test_nothing():\n    pass\n")
    tree.git("init", "--quiet")
    tree.git("add", "Snakefile", "workflow", GOLDEN)
    tree.git("commit", "--quiet", "--message", "finished")
    run = tree.snakemake()
    assert run.returncode == 0, run.stdout


@pytest.fixture
def tree(finished: Tree, tmp_path: Path) -> Tree:
    """A copy of the finished tree."""
    return finished.copy(tmp_path / "tree")


@pytest.fixture
def warm_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that the test starts begin warm; those of fixtures for more than one test have begun before, cold."""
    monkeypatch.setattr(sys, "executable", warm.python())


@pytest.fixture(scope="session")
def hub_content(tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Repository]:
    """The repositories of the hub for tests."""
    import hub_repositories

    with serving() as hub:
        hub_repositories.add_texts(hub)
        hub_repositories.add_models(hub, tmp_path_factory.mktemp("hub"))
        return hub.repositories


@pytest.fixture
def hub(hub_content: dict[Any, Repository]) -> Iterator[HubServer]:
    """A hub on this machine with tiny models and texts, to be changed at will."""
    with serving() as hub:
        hub.repositories = deepcopy(hub_content)
        yield hub
