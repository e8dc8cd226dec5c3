"""The costs of every job of a plan, and their sums for a study. Only the config and its catalogs are read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from prunebench.cell import Cell
from prunebench.config.schema import calibration_parts, configured
from prunebench.engine.contract import Method
from prunebench.estimate import costs
from prunebench.estimate.costs import Cost, Pruning, Text
from prunebench.estimate.devices import DEVICES, Device
from prunebench.estimate.sizes import Model
from prunebench.plan.graph import jobs_of_all
from prunebench.plan.grid import allocator_of, method_of, model_shape
from prunebench.plan.jobs.base import Job
from prunebench.plan.plan import Plan
from prunebench.suites.base import Suite
from prunebench.suites.workloads import Workload


@dataclass(frozen=True)
class RuleCosts:
    """All jobs of one rule, and the cost of each."""

    rule: str
    jobs: tuple[Job, ...]
    costs: tuple[Cost, ...]

    @property
    def counted(self) -> bool:
        """Whether anything but the time to start is estimated for these jobs."""
        return any(cost != Cost() for cost in self.costs)


@dataclass(frozen=True)
class Estimate:
    """The costs of a plan on the machine where it is to run."""

    plan: Plan
    device: Device
    done: frozenset[Job] = frozenset()
    """The jobs that need not run any more; they cost nothing."""

    @property
    def cpu(self) -> Device:
        """The machine that runs jobs without a card."""
        return DEVICES["cpu"] if self.device.memory else self.device

    @classmethod
    def of(cls, plan: Plan, studies: list[str], device: Device, done: frozenset[Job] = frozenset()) -> "Estimate":
        """Make the estimate of some `studies` of `plan`, without the jobs that are `done`."""
        return cls(replace(plan, studies={name: plan.studies[name] for name in studies}), device, done)

    @cached_property
    def costs(self) -> dict[Job, Cost]:
        """The cost of each job that is left, in the order of the run. Where hardly any work is done, it is empty."""
        return {job: self.cost(job) for job in jobs_of_all(self.plan) if job not in self.done}

    @cached_property
    def rules(self) -> list[RuleCosts]:
        """The jobs and costs of each rule, in the order of the run."""
        by_rule: dict[str, dict[Job, Cost]] = {}
        for job, cost in self.costs.items():
            by_rule.setdefault(job.rule, {})[job] = cost
        return [RuleCosts(rule, tuple(entries), tuple(entries.values())) for rule, entries in by_rule.items()]

    def seconds(self, cost: Cost) -> float:
        """Estimate the time of a job with this cost."""
        return cost.seconds(self.device, self.cpu)

    @property
    def hours(self) -> tuple[float, float]:
        """The hours of cards (a job on several cards counts each), and of a processor for jobs that use no card."""
        cards = sum(self.seconds(cost) * cost.cards(self.device) for cost in self.costs.values())
        host = sum(self.seconds(cost) for cost in self.costs.values() if not cost.cards(self.device))
        return cards / 3600, host / 3600

    @cached_property
    def kept(self) -> dict[str, float]:
        """Bytes of pruned weights that stay, by the setting of `keep_weights`."""
        total = {"packed": 0.0, "mask": 0.0, "none": 0.0}
        for cell in self.plan.cells:
            sizes = self.kept_of(cell)
            total = {setting: size + sizes[setting] for setting, size in total.items()}
        return total

    def kept_of(self, cell: Cell) -> Mapping[str, float]:
        """Bytes of the pruned weights of one cell that stay, by the setting of `keep_weights`."""
        return costs.kept(self._method(cell), self.model(cell.model), float(cell.sparsity), self._part(cell))

    def surely_kept_of(self, cell: Cell) -> Mapping[str, float]:
        """Bytes of the pruned weights of one cell that stay at least, by the setting of `keep_weights`."""
        return costs.surely_kept(self._method(cell), self.model(cell.model), float(cell.sparsity), self._part(cell))

    @property
    def disk(self) -> float:
        """Bytes of other results that stay."""
        return sum(cost.disk for cost in self.costs.values())

    @property
    def assets(self) -> list[str]:
        """The assets that the jobs fetch, as models/opt_125m."""
        return [job.asset for job in self.costs if job.asset]

    def model(self, name: str) -> Model:
        """Find the sizes of a model of the catalog."""
        return Model.of(self.plan.config.models[name])

    def cost(self, job: Job) -> Cost:
        """Compute the cost of a job by the formula of its rule."""
        formulas: dict[str, Callable[[Job], Cost]] = {
            "calibrate": self._calibrate,
            "profile": self._profile,
            "gradients": self._gradients,
            "search_allocation": self._search,
            "allocate": self._allocate,
            "prune": self._prune,
            "evaluate": lambda job: self._evaluation(job.cell, job.wildcards["suite"]),
        }
        return formulas[job.rule](job) if job.rule in formulas else Cost()

    def _calibrate(self, job: Job) -> Cost:
        if not job.gpu:
            return Cost()
        model, text, calibration = self.model(job.model), self._calibration(job), job.wildcards["calibration"]
        if self.plan.config.pairs_of(calibration):
            return costs.paired(model, text, self.device)
        tokens = self.plan.config.windows_written(calibration) * text.seqlen
        return costs.written(model, replace(text, tokens=tokens), self.device)

    def _profile(self, job: Job) -> Cost:
        return costs.profile(self.model(job.model), self._calibration(job), self.device)

    def _gradients(self, job: Job) -> Cost:
        return costs.gradients(self.model(job.model), self._calibration(job), self.device)

    def _search(self, job: Job) -> Cost:
        entry, compute = self.plan.config.searches[job.wildcards["search"]], job.compute
        assert compute is not None
        text = Text(entry.windows * entry.seqlen, entry.seqlen, compute.batch_size, compute.dtype)
        return costs.search(self.model(job.model), text, self.device, entry.evaluations)

    def _allocate(self, job: Job) -> Cost:
        text = self._calibration(job) if job.needs["tokens"] else None
        steps = getattr(allocator_of(self.plan.config, job.cell).params, "steps", 0)
        return costs.allocate(self.model(job.model), text, self.device, steps)

    def _prune(self, job: Job) -> Cost:
        text = self._calibration(job) if job.needs["tokens"] else None
        pruning = Pruning(self.model(job.model), text, self.device, self._part(job.cell))
        return self._method(job.cell).cost(pruning)

    def _evaluation(self, cell: Cell, suite: str) -> Cost:
        entry, model = self.plan.config.suites[suite], self.model(cell.model)
        compute = entry.compute or self.plan.config.compute
        workload = self.workload(suite)
        text = Text(workload.tokens, workload.seqlen, compute.batch_size, compute.dtype)
        return costs.evaluate(model, text, self.device, workload)

    def workload(self, suite: str) -> Workload:
        """Find the work that an evaluation on `suite` (a catalog name) asks of a model."""
        plugin: Suite = configured("suites", self.plan.config.suites[suite])
        return plugin.workload(self.plan.config)

    def _calibration(self, job: Job) -> Text:
        _, samples, seqlen = calibration_parts(job.wildcards["calibration"])
        compute = self.plan.config.compute
        return Text(samples * seqlen, seqlen, compute.batch_size, compute.dtype)

    def _method(self, cell: Cell) -> Method:
        method: Method = method_of(self.plan.config, cell)
        return method

    def _part(self, cell: Cell) -> float:
        """Compute the fraction of the blocks that are pruned."""
        layers = self.plan.config.allocators[cell.allocator].layers
        blocks = model_shape(self.plan.config.models[cell.model]).blocks
        return blocks // 2 / blocks if layers == "first_half" else 1.0


def missing(estimate: Estimate) -> Mapping[str, str]:
    """List by asset the assumption that the estimate makes about a size that it does not know."""
    suites = dict.fromkeys(suite for study in estimate.plan.studies.values() for suite in study.all_suites)
    return {asset: taken for suite in suites for asset, taken in estimate.workload(suite).guesses.items()}
