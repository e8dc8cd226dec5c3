# Loaded by every job, so it must stay light: no torch, no pandas.
import os
import sys

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

PACKAGE = os.path.join(workflow.basedir, "workflow")
os.environ.update(PYTHONPATH=os.pathsep.join([PACKAGE, *filter(None, [os.environ.get("PYTHONPATH")])]))
sys.path.insert(0, PACKAGE)

from prunebench.errors import PrunebenchError
from prunebench.plan import paths, resources, slurm
from prunebench.plan.jobs import benchmark_of, log_of, output_of
from prunebench.plan.plan import load_plan
from prunebench.runtime import gpus
from prunebench.upkeep import runs

try:
    # Relative: the name is part of a spec, and moving a project must not re-run anything.
    plan = load_plan(config, ", ".join(map(os.path.relpath, workflow.configfiles)))
except PrunebenchError as error:
    raise WorkflowError(str(error)) from None


wildcard_constraints:
    **paths.WILDCARDS,


# What follows from the class of a rule in workflow/prunebench/plan/jobs/, one word for each directive.
def needs(rule, name):
    return lambda wildcards: job_of(rule, wildcards).input(name)


def spec_of(rule):
    return lambda wildcards: job_of(rule, wildcards).spec


def threads_of(rule):
    return lambda wildcards: job_of(rule, wildcards).threads


def gpus_of(rule):
    return lambda wildcards: gpus_per_job() if job_of(rule, wildcards).gpu else 0


def memory_of(rule):
    # More when a job has failed, as it may have had too little.
    return lambda wildcards, attempt: attempt * resources.memory(job_of(rule, wildcards))


def minutes_of(rule):
    def minutes(wildcards, attempt):
        job = job_of(rule, wildcards)
        return attempt * resources.minutes(job, gpus=gpus_per_job() if job.gpu else 0)

    return minutes


def job_of(rule, wildcards):
    # Called while the DAG is built, so that a run is recorded before Snakemake looks for locks.
    if workflow.is_main_process and workflow.executor_plugin and not workflow.dryrun and not runs.begun():
        if advice := runs.begin():
            logger.warning(advice)
    return plan.job(rule, **dict(wildcards.items()))


def gpus_per_job():
    """GPUs of a job that runs the model. A job of a scheduler parses this again; a dry run knows only --jobs."""
    if workflow.remote_exec:
        return gpus.gpus_given()
    elsewhere = workflow.non_local_exec or (workflow.dryrun and workflow.resource_settings.nodes is not None)
    here = gpus.gpus_per_job(elsewhere=elsewhere)
    return min(here, workflow.global_resources["gpu"].value) if "gpu" in workflow.global_resources else here


onstart:
    if "gpu" not in workflow.global_resources and gpus_per_job():
        logger.warning(
            "This profile sets no limit for GPUs, so jobs are started for more than there are. Add to its config.yaml, "
            "for two:\nresources:\n  gpu: 2"
        )
    if workflow.executor_plugin.name == "slurm":
        submitted = [job for job in workflow.dag.needrun_jobs() if not workflow.is_local(job.rule)]
        demands = [slurm.Demand.of(job.rule.name, job.resources) for job in submitted]
        try:
            warnings = slurm.check(demands, attempts=1 + workflow.execution_settings.retries)
        except PrunebenchError as error:
            raise WorkflowError(str(error)) from None
        for warning in warnings:
            logger.warning(warning)
