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
