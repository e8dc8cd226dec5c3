# Loaded by every job, so it must stay light: no torch, no pandas.
import os
import sys

from snakemake.exceptions import WorkflowError

PACKAGE = os.path.join(workflow.basedir, "workflow")
os.environ.update(PYTHONPATH=os.pathsep.join([PACKAGE, *filter(None, [os.environ.get("PYTHONPATH")])]))
sys.path.insert(0, PACKAGE)

from prunebench import paths, resources
from prunebench.errors import PrunebenchError
from prunebench.plan import load_plan

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
    """With --jobs, which only other executors than the local one have, or in a job of theirs, GPUs are elsewhere."""
    return resources.gpus_per_job(elsewhere=workflow.resource_settings.nodes is not None)


def memory(rule):
    """For mem_mb: more when a job has failed, as it may have had too little."""
    return lambda wildcards, attempt: attempt * resources.memory(rule, plan.work(wildcards))


def minutes(rule):
    """For runtime, likewise."""
    return lambda wildcards, attempt: (
        attempt * resources.minutes(rule, plan.work(wildcards), gpus=gpus_per_job(wildcards))
    )
