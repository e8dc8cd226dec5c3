"""The job graph: each rule of the workflow has a class here, which says what its jobs read and write, and their specs.

The rules, the hashes of specs, the checks of results, status, garbage, retries, estimates and the runs of one model all
follow from these classes. `rules()` finds them: a new rule is a module here, a stage, and a file below rules/.
"""

import importlib
import pkgutil
from functools import cache
from typing import Any

from prunebench.errors import PrunebenchError
from prunebench.plan.jobs.base import Job


@cache
def rules() -> dict[str, type[Job]]:
    """The class of each rule by its name, in the order of the modules."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    classes = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    return {value.rule: value for value in classes if issubclass(value, Job) and "rule" in vars(value)}


def rule_class(rule: str) -> type[Job]:
    """The class of the rule called `rule`. Raises PrunebenchError if no module here has one."""
    if rule not in rules():
        raise PrunebenchError(f"no class in workflow/prunebench/plan/jobs/ says rule = {rule!r}: write one")
    return rules()[rule]


def named(rule: str, **wildcards: Any) -> Job:
    """A job of `rule` that belongs to no plan, so that only its names and paths can be used."""
    return rule_class(rule)(None, wildcards)


def log_of(rule: str) -> str:
    """The pattern of the log files of `rule`."""
    return f"logs/{rule}/{rule_class(rule).subject_pattern}.log"


def benchmark_of(rule: str) -> str:
    """The pattern of the files in which Snakemake writes seconds and memory of the processes of `rule`."""
    return f"benchmarks/{rule}/{rule_class(rule).subject_pattern}.tsv"


def output_of(rule: str, name: str) -> str:
    """The pattern of the output `name` of `rule`."""
    return rule_class(rule).writes[name]
