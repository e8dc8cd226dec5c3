# Loaded by every job, so it must stay light: no torch, no pandas.
import inspect
import logging
import os
import shlex
import sys
from functools import cache
from pathlib import Path
from subprocess import CalledProcessError

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger
from snakemake.settings.types import RerunTrigger

# This checkout's package, also for the jobs. Beside an installed Snakefile there is none: Python finds it by itself.
PACKAGE = os.path.join(HERE, "workflow")
if os.path.isdir(os.path.join(PACKAGE, "prunebench")):
    os.environ.update(PYTHONPATH=os.pathsep.join([PACKAGE, *filter(None, [os.environ.get("PYTHONPATH")])]))
    sys.path.insert(0, PACKAGE)

from prunebench.cell import NO_CALIBRATION
from prunebench.config.schema import CONFIG, read_config
from prunebench.errors import PrunebenchError
from prunebench.config.packaged import label, resource
from prunebench.estimate import space, terminal
from prunebench.plan import graph, paths, resources, slurm
from prunebench.plan.jobs import benchmark_of, log_of, output_of, rules as job_rules
from prunebench.plan.plan import load_plan
from prunebench.runtime import gpus
from prunebench.upkeep import clashes, known, runs
from prunebench.view import failures

# Snakemake's own log lies on the disk of the run. Where that is full, each line of the log would come as a traceback.
logging.raiseExceptions = False

try:
    # Snakemake keeps the last of two equal keys, follows every reference and asks no more. So our reader looks first.
    for file in workflow.configfiles or [CONFIG]:
        read_config(Path(os.path.relpath(file)))
except PrunebenchError as error:
    raise WorkflowError(str(error)) from None

if not workflow.configfiles:

    configfile: str(resource(CONFIG))


try:
    # The name is part of a spec, and moving a project must not re-run anything.
    plan = load_plan(config, ", ".join(map(label, workflow.configfiles)) or str(CONFIG))
except PrunebenchError as error:
    raise WorkflowError(str(error)) from None


# Without a shared file system a job has nothing but its declared inputs: more is declared there.
STORED = workflow.storage_settings is not None and workflow.storage_settings.default_storage_provider is not None


wildcard_constraints:
    **paths.WILDCARDS,


def directive(function):
    """Keep the signature of `function`. Snakemake asks for it at each call, and finding it takes longer than the call."""
    function.__signature__ = inspect.signature(function)
    return function


# What follows from the class of a rule in workflow/prunebench/plan/jobs/, one word for each directive.
def needs(rule, name):
    def files(wildcards):
        job = job_of(rule, wildcards)
        # The files of a local model or corpus lie where Snakemake runs, and in no storage.
        brought = job.brought(name) if STORED else ()
        return list(map(local, brought)) or job.input(name)

    return directive(files)


# Where there is no shared file system: the directories of all assets that a job reads.
def asset_files(rule):
    def directories(wildcards):
        assets = dict.fromkeys(job.outputs[0].parent for job in job_of(rule, wildcards).upstream if job.asset)
        return [str(directory / paths.ASSET_FILES) for directory in assets]

    return directive(directories) if STORED else []


# Where there is no shared file system: all results on which tables, figures and report rest, but for weights.
@cache
def evidence():
    if not STORED:
        return []
    jobs = [job for job in graph.ordered(plan.job("report").upstream) if job.rule not in ("collect", "figures")]
    files = [path for job in jobs for name, path in job.paths.items() if (job.rule, name) != ("prune", "weights")]
    return files + [str(job.outputs[0].parent / paths.ASSET_FILES) for job in jobs if job.asset]


# An output that is never empty. Snakemake 9.27 looks for its size in the storage before it is there.
def filled(path):
    return path if STORED else ensure(path, non_empty=True)


# The output and the command with which a rule declares the files of an asset where there is no shared file system.
def carried(asset):
    return {"carried": directory(asset.replace("asset.json", paths.ASSET_FILES))} if STORED else {}


def and_carried(command):
    if not STORED:
        return command
    return f"{command} && python -m prunebench.assets.carried {{output.asset}} {{output.carried}} 2>> {{log}}"


# What is made of this config alone lies beside that of other configs.
def here(pattern):
    return pattern.replace("{home}", plan.home)


def spec_of(rule):
    return directive(lambda wildcards: job_of(rule, wildcards).spec)


def threads_of(rule):
    # A job that must be alone takes all cores of this machine. What runs beside it elsewhere is up to the scheduler.
    alone = 0 if workflow.non_local_exec else workflow.resource_settings.cores or 0

    @directive
    def threads(wildcards):
        job = job_of(rule, wildcards)
        return max(job.threads, alone) if job.alone else job.threads

    return threads


# The first rows of a table are those with which others are compared, and which take no time: the dense model, then cells
# that need no calibration. `snakemake --prioritize` still comes before them.
# Allocations without calibration take a second, and come before the cells that need them.
@directive
def priority(wildcards):
    baseline = 1 if "method" not in wildcards.keys() else wildcards.method in plan.shown.baselines
    return (baseline + 1) * (wildcards.calibration == NO_CALIBRATION)


def gpus_of(rule):
    return directive(lambda wildcards: gpus_per_job() if job_of(rule, wildcards).gpu else 0)


def memory_of(rule):
    # More when a job has failed, as it may have had too little.
    return directive(lambda wildcards, attempt: attempt * resources.memory(job_of(rule, wildcards)))


def minutes_of(rule):
    @directive
    def minutes(wildcards, attempt):
        job = job_of(rule, wildcards)
        return attempt * resources.minutes(job, gpus=gpus_per_job() if job.gpu else 0)

    return minutes


def job_of(rule, wildcards):
    # Called while the DAG is built, so that a run is recorded before Snakemake looks for locks.
    if workflow.is_main_process and workflow.executor_plugin and not workflow.dryrun and not runs.begun():
        if advice := runs.begin():
            logger.warning(advice)
    return plan.job(rule, **wildcards)


@cache
def gpus_per_job():
    """GPUs of a job that runs the model. A job of a scheduler parses this again; a dry run knows only --jobs."""
    if workflow.remote_exec:
        return gpus.gpus_given()
    elsewhere = workflow.non_local_exec or (workflow.dryrun and workflow.resource_settings.nodes is not None)
    here = gpus.gpus_per_job(elsewhere=elsewhere)
    return min(here, workflow.global_resources["gpu"].value) if "gpu" in workflow.global_resources else here


# Snakemake's own lines about each job, with long paths and longer commands, go to its log file only.
def expected_work():
    pending = workflow.dag.needrun_jobs(exclude_finished=False)
    return terminal.expected(plan, {workflow.dag.jobid(job): (job.rule.name, job.wildcards) for job in pending})


briefs = []
if workflow.is_main_process and not (workflow.output_settings.verbose or workflow.output_settings.printshellcmds):
    for handler in logger.handlers:
        if handler.name == "DefaultStreamHandler":
            bottom = terminal.Bottom(handler.stream) if handler.is_tty else None
            briefs.append(
                terminal.Brief(
                    expected_work,
                    logger.info,
                    bottom,
                    complain=logger.error,
                    failure=failures.failure,
                    made=lambda: "" if STORED else known.made(plan),
                )
            )
            handler.addFilter(briefs[-1])


# The configs that were run here. One that has a mistake by now is no reason to stop.
def known_plans():
    plans, mistakes = known.readable()
    for mistake in mistakes:
        logger.warning(f"nobody can tell whether this run replaces results of this config: {mistake}")
    return plans


# Lead to all reports. What was computed stays computed if this page cannot be written.
def show_all_reports():
    try:
        known.write_index()
    except OSError as error:
        logger.warning(f"{paths.INDEX} cannot be written: {error}")


# Make everything that people read from the valid results, so that no older number stays in tables, figures and report.
def show_what_is_valid():
    spec, cells = plan.job("collect").spec, plan.job("collect").outputs[0]
    log = Path("logs/outputs.log")
    log.parent.mkdir(exist_ok=True)
    try:
        shell("python -m prunebench.stages outputs --label tables --spec {spec:q} --cells {cells:q} 2> {log:q}")
    except CalledProcessError:
        raise WorkflowError(failures.told("the tables of this run", [str(log)])) from None


# Nobody needs to know the rules of Snakemake to go on after an error.
def say_how_to_go_on():
    config = f" --configfile {shlex.quote(plan.file)}" if plan.home != paths.HOME else ""
    logger.info(
        f"After mending the cause, run snakemake again: what is done is kept. Why cells failed: prunebench status{config}"
    )


onstart:
    for brief in briefs:
        brief.begin()
    if "gpu" not in workflow.global_resources and gpus_per_job():
        logger.warning(
            "This profile sets no limit for GPUs, so jobs are started for more than there are. Add to its config.yaml, "
            "for two:\nresources:\n  gpu: 2"
        )
    needed = [job for job in workflow.dag.needrun_jobs() if job.rule.name in job_rules()]
    pending = [plan.job(job.rule.name, **job.wildcards) for job in needed]
    try:
        if not workflow.touch and not workflow.non_local_exec:
            resources.check_threads(pending, workflow.resource_settings.cores)
        if not workflow.touch and not STORED:
            clashes.refuse_to_replace(plan, pending, known_plans)
        if not STORED:
            space.check(space.demands(plan, [job for job in pending if job.rule in space.RULES]))
    except PrunebenchError as error:
        raise WorkflowError(str(error)) from None
    if not STORED:
        try:
            known.remember(plan)
        except OSError as error:
            raise WorkflowError(f"the config cannot be kept beside its results: {error}") from None
    if workflow.executor_plugin.name == "slurm":
        submitted = [job for job in workflow.dag.needrun_jobs() if not workflow.is_local(job.rule)]
        demands = [slurm.Demand.of(job.rule.name, job.resources) for job in submitted]
        try:
            warnings = slurm.check(demands, attempts=1 + workflow.execution_settings.retries)
        except PrunebenchError as error:
            raise WorkflowError(str(error)) from None
        for warning in warnings:
            logger.warning(warning)
