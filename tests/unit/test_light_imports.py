"""Every cluster job parses the Snakefile again, so planning must not import what computes."""

import json
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
# torch._C and not torch: the lazy stand-in of torch has its name.
HEAVY = {"torch._C", "transformers", "tokenizers", "safetensors", "pandas", "numpy", "lm_eval", "datasets", "pyarrow"}
HEAVY |= {"snakemake", "matplotlib", "plotly", "itables", "jinja2"}
PLAN_EVERYTHING = """
import json, sys
import yaml
from prunebench.plan.graph import jobs
from prunebench.plan.plan import load_plan
from prunebench.plan.resources import memory, minutes

plan = load_plan(yaml.safe_load(open("config/config.yaml")))
for job in jobs(plan):
    job.spec, job.threads, memory(job), minutes(job, gpus=0), [job.input(name) for name in job.needs]
print(json.dumps(sorted(sys.modules)))
"""


LOAD_EVERYTHING = """
import json, sys
from prunebench.registry import KINDS, load, names

[load(kind, name) for kind in KINDS.values() for name in names(kind)]
print(json.dumps(sorted(sys.modules)))
"""


def loaded(program: str) -> set[str]:
    """The modules that `program` has imported."""
    code = f"import sys; sys.path.insert(0, 'workflow')\n{program}"
    run = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout))


def test_planning_imports_nothing_heavy() -> None:
    modules = loaded(PLAN_EVERYTHING)
    assert "prunebench.methods.wanda" in modules
    assert modules & HEAVY == set()


def test_no_plug_in_imports_anything_heavy() -> None:
    modules = loaded(LOAD_EVERYTHING)
    assert {"prunebench.tables.scores", "prunebench.figures.cost", "prunebench.suites.lm_eval"} <= modules
    assert modules & HEAVY == set()
