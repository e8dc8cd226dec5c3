"""The jobs of a plan with their specs, without snakemake, and what edits of the config and of the code do to them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import pytest

from prunebench.identity import fingerprint as fingerprints
from prunebench.plan import graph
from prunebench.plan.plan import Plan


def specs(plan: Plan) -> dict[str, str]:
    """The spec of every job, by its rule and the values of its wildcards, as in 'calibrate tiny text_4x16 0'."""
    return {" ".join([job.rule, *job.wildcards.values()]): job.spec for job in graph.jobs(plan) if job.spec}


def changed_jobs(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    """The jobs of `after` that `before` has not, or has with another spec."""
    return {job for job, spec in after.items() if before.get(job) != spec}


@contextmanager
def edited_code(file: str, edit: Callable[[str], str]) -> Iterator[None]:
    """Fingerprints are those of the package with `file` (below workflow/) edited; the file itself stays as it is."""
    sources = fingerprints.working_tree()
    module = file.removeprefix("workflow/").removesuffix(".py").replace("/", ".")
    text = sources.text(module)
    assert edit(text) != text, f"the edit changes nothing in {file}"
    edited = replace(sources, texts={**sources.texts, module: edit(text)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprints, "working_tree", lambda: edited)
        fingerprints.fingerprint.cache_clear()
        try:
            yield
        finally:
            fingerprints.fingerprint.cache_clear()


def another_number(text: str) -> str:
    """Python code that computes something else, as far as a fingerprint knows; no matter what stands in `text`."""
    return f"{text}\nEDITED = 1\n"


def another_comment(text: str) -> str:
    """Python code with one more comment."""
    return f"{text}\n# Edited.\n"


def another_docstring(text: str) -> str:
    """Python code with another first docstring."""
    return text.replace('"""', '"""Edited. ', 1)
