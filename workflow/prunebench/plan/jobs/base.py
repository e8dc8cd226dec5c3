"""The base classes of jobs and of their specs.

This module does not import torch, because Snakemake asks every job of a study for its inputs, threads and spec.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from prunebench.cell import NO_CALIBRATION, Cell
from prunebench.config.schema import calibration_parts
from prunebench.identity.canonical import canonical, spec_hash
from prunebench.identity.fingerprint import fingerprint
from prunebench.plan.paths import HOME
from prunebench.plan.sizes import streamed_bytes

if TYPE_CHECKING:
    from prunebench.config.entries import Shape
    from prunebench.config.schema import Config
    from prunebench.config.values import Compute
    from prunebench.plan.plan import Plan


class Spec(BaseModel):
    """Everything that can change the numbers of a job. The job graph writes a spec, and the stage of the rule reads it.

    Snakemake runs a job again when its params change, but compares them as a set without names, drops objects that it
    cannot print, and cannot see an edit in an imported module. So each rule has one param, the spec as canonical JSON.
    It holds the job's own parameters, hashes of the specs of the jobs before it, and fingerprints of the code that
    computes. Device, host and logging are provenance and not in it. A new field is left out of the JSON at its default
    (`exclude_if`), so that jobs that do not use it keep their specs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: dict[str, str] | str = Field(default_factory=dict)
    """Fingerprints of the stage and of the plug-ins that it uses, or of a stage that uses none."""

    @property
    def text(self) -> str:
        """The spec as canonical JSON, in which equal specs are equal strings."""
        return canonical(self.model_dump(mode="json"))


FOLDERS = {
    "allocator": "allocators",
    "family": "models",
    "method": "methods",
    "space": "search",
    "suite": "suites",
}
"""The folder of the plug-ins that have each role in a spec."""


def modules_of(rule: str, spec: str) -> dict[str, str]:
    """The fingerprint in `spec`, the spec of a job of `rule`, of each module that it names."""
    fields = json.loads(spec or "{}")
    code = fields.get("code", {})
    if isinstance(code, str):  # of the only stage without plug-ins, whose spec the stage `outputs` takes too
        code = {"stages.collect": code}

    def module(role: str) -> str:
        if role == "stage":
            return f"stages.{rule}"
        return f"{FOLDERS[role]}.{fields[role]}" if role in FOLDERS else role

    return {module(role): digest for role, digest in code.items()}


class Output(NamedTuple):
    """A file that a job writes."""

    job: Job
    name: str

    @property
    def path(self) -> str:
        """The path of the file, relative to the working directory."""
        return self.job.paths[self.name]


Need = Output | Sequence[Output] | Sequence[str] | None
"""The meaning of one input of a job: a file of another job, several of these, local files, or nothing."""


class Job:
    """One job of a rule. Two jobs with the same rule and subject are equal, whatever plan they belong to."""

    rule: ClassVar[str]
    """The name of the rule in the Snakefile, of its stage, and of the stage's module."""
    subject_pattern: ClassVar[str]
    """The pattern of a job's name among the jobs of its rule. The paths of its log and benchmark end with that name."""
    writes: ClassVar[Mapping[str, str]] = {}
    """The pattern of the path of each output by its name. When a job is done, the first output is there."""
    runs_model: ClassVar[bool] = False
    """Whether the jobs of the rule run a model."""
    passes: ClassVar[int] = 0
    """How many forward passes over `tokens` take as long as the arithmetic of the job, at most."""
    own_cost: ClassVar[bool] = False
    """Whether the job counts as part of the cost of the cell that rests on it."""

    def __init__(self, plan: Plan | None, wildcards: Mapping[str, Any]) -> None:
        """`wildcards` may have more names than the rule. Without a plan, only names and paths can be used."""
        self.key = self.key_of(wildcards)
        """The name of the rule, and the values of its wildcards. Equal jobs have equal keys."""
        self.wildcards: dict[str, str] = dict(zip(_names(self.subject_pattern), self.key[1:], strict=True))
        self._plan = plan
        self._home = plan.home if plan else str(wildcards.get("home", HOME))

    @classmethod
    def key_of(cls, wildcards: Mapping[str, Any]) -> tuple[str, ...]:
        """The key of the job for `wildcards`, which may have more names than the rule. To make a job takes longer."""
        return (cls.rule, *(str(wildcards[name]) for name in _names(cls.subject_pattern)))

    @classmethod
    def wanted(cls, plan: Plan) -> Iterable[Mapping[str, Any]]:
        """The wildcards of the jobs that a run of `plan` is for. Other jobs run where these rest on them."""
        return ()

    @cached_property
    def subject(self) -> str:
        """The name of the job among the jobs of its rule."""
        return self.subject_pattern.format(**self.wildcards)

    @property
    def outputs(self) -> tuple[Path, ...]:
        """All files that the job writes. The first stays; others may be deleted after use."""
        return tuple(map(Path, self.paths.values()))

    @cached_property
    def paths(self) -> dict[str, str]:
        """The path of each output by its name, relative to the working directory."""
        return {name: pattern.format(**self.wildcards, home=self._home) for name, pattern in self.writes.items()}

    def output(self, name: str | None = None) -> Output:
        """The output called `name`; the first one without a name."""
        return Output(self, name or next(iter(self.writes)))

    @property
    def log(self) -> Path:
        """The log of the job, whose first line is the command that repeats it."""
        return Path(f"logs/{self.rule}/{self.subject}.log")

    @property
    def benchmark(self) -> Path:
        """The file that Snakemake writes when the job is done."""
        return Path(f"benchmarks/{self.rule}/{self.subject}.tsv")

    @property
    def done(self) -> bool:
        """Whether the first output of the job exists, made from whatever inputs and settings."""
        return self.outputs[0].exists()

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that the job and Snakemake write for it."""
        return (*self.outputs, self.log, self.benchmark)

    @property
    def plan(self) -> Plan:
        """The plan that the job belongs to."""
        assert self._plan is not None, f"{self} was made from a path alone"
        return self._plan

    @property
    def config(self) -> Config:
        """The config of the plan."""
        return self.plan.config

    @cached_property
    def cell(self) -> Cell:
        """The cell that the wildcards name. Without a method it is the point of an allocation."""
        return Cell.of(self.wildcards)

    @cached_property
    def needs(self) -> Mapping[str, Need]:
        """The inputs of the job by the name that its rule and its stage give them."""
        return {}

    def input(self, name: str) -> str | list[str]:
        """The path or paths of the input `name`. The list is empty if the job does not need the input."""
        need = self.needs[name]
        if isinstance(need, Output):
            return need.path
        return [item.path if isinstance(item, Output) else item for item in need or ()]

    def brought(self, name: str) -> list[str]:
        """The local files among the input `name`, which no job writes."""
        need = self.needs[name]
        return [] if isinstance(need, Output) else [item for item in need or () if isinstance(item, str)]

    @property
    def upstream(self) -> Iterator[Job]:
        """The jobs whose files this one reads."""
        for need in self.needs.values():
            for item in [need] if isinstance(need, Output) else need or ():
                if isinstance(item, Output):
                    yield item.job

    @property
    def recorded(self) -> Mapping[str, Output]:
        """The files whose digests the result of the job records, by their names in that record."""
        return {name: need for name, need in self.needs.items() if isinstance(need, Output)}

    @cached_property
    def spec(self) -> str:
        """Canonical JSON of the spec of the job. It is empty if only the inputs can change the output."""
        return self.plan.given.get(self.rule) or self._spec()

    def _spec(self) -> str:
        return ""

    @cached_property
    def spec_hash(self) -> str:
        """A short digest of the spec."""
        return spec_hash(self.spec)

    @property
    def model(self) -> str:
        """The catalog name of the model whose size decides the resources of the job; empty without a model."""
        return self.wildcards.get("model", "")

    @property
    def asset(self) -> str:
        """Kind and catalog name of the asset that the job fetches (corpora/c4_type); empty if it fetches nothing."""
        return ""

    @property
    def gpu(self) -> bool:
        """Whether the job runs a model, and therefore asks for a GPU."""
        return self.runs_model

    @property
    def tokens(self) -> int:
        """The number of tokens that decides the time of the job: of its calibration set, training or search."""
        calibration = self.wildcards.get("calibration", NO_CALIBRATION)
        if calibration == NO_CALIBRATION:
            return 0
        _, samples, seqlen = calibration_parts(calibration)
        return samples * seqlen

    @property
    def forward_tokens(self) -> int:
        """The tokens of forward passes that take as long as the arithmetic of the job, at most."""
        return self.passes * self.tokens

    def bytes(self, shape: Shape) -> int:
        """An upper bound of the job's main memory beside its libraries; by default a pass with one block in memory."""
        return streamed_bytes(shape, self.tokens)

    @property
    def threads(self) -> int:
        """CPU threads of the job. They are part of its spec if the job runs a model forward."""
        return self.compute.threads if self.compute else 1

    @property
    def alone(self) -> bool:
        """Whether no other job may run on the machine meanwhile."""
        return False

    @property
    def compute(self) -> Compute | None:
        """The compute settings of the job; None if it runs no model forward."""
        return None

    def code(self, **plugins: str) -> dict[str, str]:
        """Fingerprints, by role, of the stage and of `plugins` (such as family="opt"), which are in the spec, too."""
        modules = {"stage": f"stages.{self.rule}"}
        modules |= {role: f"{FOLDERS[role]}.{name}" for role, name in plugins.items()}
        return {role: fingerprint(f"prunebench.{module}") for role, module in modules.items()}

    def hash_of(self, name: str) -> str | None:
        """The hash of the spec of the job that writes the input `name`; None if there is no such input."""
        need = self.needs[name]
        return need.job.spec_hash if isinstance(need, Output) else None

    def assets(self, names: Sequence[str]) -> list[Output]:
        """The outputs of the jobs that fetch the assets `names` (such as corpora/c4_type), sorted by name."""
        return [self.plan.asset(name).output() for name in sorted(names)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        return f"{self.rule} {self.subject}"

    __repr__ = __str__


STEPS = 8
"""How much longer, at most, written tokens take than the arithmetic of their passes: each step reads all weights."""


@cache
def _names(pattern: str) -> tuple[str, ...]:
    """List the wildcards in a pattern. The result is kept, because Snakemake asks for every job many times."""
    return tuple(name for _, name, _, _ in Formatter().parse(pattern) if name)
