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
from prunebench.plan.plan import load_plan

plan = load_plan(yaml.safe_load(open("config/config.yaml")))
plan.collect_spec(), plan.report_spec(), plan.shown.outputs
[plan.table_spec(table) for _, table in plan.shown.tables]
[plan.figure_spec(figure) for _, figure in plan.shown.figures]
for job in plan.evaluations:
    cell = plan.cell(job)
    plan.specs.evaluation(cell, job["suite"])
    plan.tokens(cell), plan.gradients(cell), plan.allocation(cell)
    plan.prune_threads(cell), plan.evaluate_threads(job["suite"])
print(json.dumps(sorted(sys.modules)))
"""


def test_planning_imports_nothing_heavy() -> None:
    code = f"import sys; sys.path.insert(0, 'workflow')\n{PLAN_EVERYTHING}"
    run = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    loaded = set(json.loads(run.stdout))
    assert "prunebench.methods.wanda" in loaded
    assert loaded & HEAVY == set()
