"""Names the packages; pyproject.toml says everything else."""

from setuptools import find_packages, setup

setup(packages=[*find_packages("workflow"), "prunebench.project"])
