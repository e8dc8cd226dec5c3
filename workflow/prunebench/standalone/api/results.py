"""The function `prunebench.load_results`."""

from __future__ import annotations

import logging
from contextlib import chdir
from pathlib import Path

import pandas as pd

from prunebench import registry
from prunebench.config.schema import CONFIG
from prunebench.errors import PrunebenchError
from prunebench.plan.plan import project_plan
from prunebench.results import configs
from prunebench.stages.collect import rows_of
from prunebench.standalone.arguments import in_python, is_path
from prunebench.storage.files import named_path

log = logging.getLogger("prunebench")


def load_results(project: str | Path = ".", configfile: str | Path = CONFIG, study: str | None = None) -> pd.DataFrame:
    """Return the results of a project as a tidy DataFrame: a row for each study, cell, suite, task and metric.

    `project` is the directory where snakemake runs, `configfile` a config below it, and `study` one of its studies
    (default: all). Only results that are valid with the present config and code have a `value`; `status` is "ok",
    "failed", "skipped" or "missing", with a `reason`. Nothing is run. `attrs["configfile"]` of the frame names the
    config, and a warning in the log names other configs of the project if this one has no results. Columns:

    study, model, method, allocator, pattern, calibration, suite, task, metric, status, reason, spec_hash: names;
    sparsity, achieved_sparsity: fractions of zeros; seed, n (windows or rows): whole numbers; value, stderr;
    prune_seconds, prune_cpu_seconds; peak_memory_mb.

    Raises PrunebenchError if there is no such project, config or study, and for a second project in one process if one
    of them has plug-ins of its own. The working directory changes while it reads.
    """
    for name, value in {"project": project, "configfile": configfile}.items():
        if not is_path(value):
            raise PrunebenchError(f"'{name}' is no path: give the name of a directory or a file")
        named_path(value, f"'{name}'")
    if not Path(project).is_dir():
        raise PrunebenchError(f"'project': no such directory: {project}")
    with in_python({"--configfile": "'configfile'"}), chdir(project):
        registry.refuse_another_project()
        plan = project_plan(Path(configfile))
        frame = rows_of(plan)
        chosen = frame["study"].isin(configs.studies(plan, study))
        if not (frame["status"] == "ok").any() and (others := configs.other_configs(plan)):
            log.warning("%s", others.replace("--configfile", "'configfile'"))
    frame = frame[chosen].reset_index(drop=True)
    for name in ("sparsity", "value", "stderr"):
        frame[name] = frame[name].astype("float64")
    frame.attrs["configfile"] = plan.file
    return frame.assign(n=frame["n"].astype("Int64"))
