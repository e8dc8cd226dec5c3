"""environment.yml (conda) asks for what pyproject.toml asks for."""

import tomllib
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[2]


def test_conda_and_pip_install_the_same() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    python, pip, packages = yaml.safe_load((REPOSITORY / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    assert python == f"python{project['requires-python']}"
    assert pip == "pip"
    assert packages == {"pip": [*project["dependencies"], *project["optional-dependencies"]["slurm"]]}
