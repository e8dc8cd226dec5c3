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
from prunebench.plan.plan import load_plan
from prunebench.runtime import gpus

try:
    # Relative: the name is part of a spec, and moving a project must not re-run anything.
    plan = load_plan(config, ", ".join(map(os.path.relpath, workflow.configfiles)))
except PrunebenchError as error:
    raise WorkflowError(str(error)) from None


wildcard_constraints:
    **paths.WILDCARDS,


# What takes no time, needs the network or only reads small files stays where snakemake runs: cluster nodes often have
# no network, and a batch job costs more than these do. Without a cluster this means nothing.
localrules:
    all,
    strict,
    fetch_model,
    fetch_corpus,
    fetch_tasks,
    gather_search,
    collect,
    tables,
    figures,
    report,


def gpus_per_job(wildcards):
    """Of a job that runs the model. A job of a scheduler parses this again; a dry run knows only that there is --jobs."""
    if workflow.remote_exec:
        return gpus.gpus_given()
    elsewhere = workflow.non_local_exec or (workflow.dryrun and workflow.resource_settings.nodes is not None)
    here = gpus.gpus_per_job(elsewhere=elsewhere)
    return min(here, workflow.global_resources["gpu"].value) if "gpu" in workflow.global_resources else here


def gpus_to_allocate(wildcards):
    """Only some allocators run the model."""
    return gpus_per_job(wildcards) if plan.allocator_tokens(plan.cell(wildcards)) else 0


def memory(rule):
    """For mem_mb: more when a job has failed, as it may have had too little."""
    return lambda wildcards, attempt: attempt * resources.memory(rule, plan.work(wildcards))


def minutes(rule, gpus_of=gpus_per_job):
    """For runtime, likewise, with so many GPUs."""
    return lambda wildcards, attempt: attempt * resources.minutes(rule, plan.work(wildcards), gpus=gpus_of(wildcards))


onstart:
    if "gpu" not in workflow.global_resources and gpus_per_job(None):
        logger.warning(
            "This profile sets no limit for GPUs, so jobs are started for more than there are. Add to its config.yaml, "
            "for two:\nresources:\n  gpu: 2"
        )
    if workflow.executor_plugin.name == "slurm":
        submitted = [job for job in workflow.dag.needrun_jobs() if not workflow.is_local(job.rule)]
        requests = [slurm.Request.of(job.rule.name, job.resources) for job in submitted]
        try:
            warnings = slurm.check(requests, attempts=1 + workflow.execution_settings.retries)
        except PrunebenchError as error:
            raise WorkflowError(str(error)) from None
        for warning in warnings:
            logger.warning(warning)
