# prunebench: model x method x allocator x sparsity -> paper-style tables.
#   snakemake --cores all                                              the study of config/config.yaml
#   snakemake --cores all --configfile config/studies/smoke.yaml       another one
#   snakemake -n                                                       what would run, and why
from pathlib import Path
from snakemake.utils import min_version

min_version("9.20")

if not workflow.configfiles:

    configfile: "config/config.yaml"


STAGES = "assets train calibrate profile search allocate gradients prune evaluate collect report"


include: "rules/common.smk"


for stage in STAGES.split():

    include: f"rules/{stage}.smk"


rule all:
    default_target: True
    input:
        # Already inputs of collect; here so that a deleted one is made again although cells.csv is there.
        rules.collect.input,
        rules.collect.output,
        plan.shown.outputs,
        plan.masks,


rule strict:
    # For CI: as `all`, but any failed cell makes snakemake exit non-zero.
    input:
        rules.all.input,
        cells=rules.collect.output.cells,
    log:
        paths.log("strict"),
    conda:
        "environment.yml"
    shell:
        "python workflow/scripts/strict.py --cells {input.cells} 2> {log}"


onsuccess:
    if not workflow.dag_settings.targets:
        tables = [Path(plan.shown.table_files(study, table)[0]).read_text() for study, table in plan.shown.tables]
        print("", *tables, f"Figures, and all there is to know of each cell: {paths.REPORT}", sep="\n")


onerror:
    # What could be computed was (keep-going): show that, so that no older number stays in tables, figures and report.
    spec = plan.collect_spec()
    shell("python workflow/scripts/collect.py --spec {spec:q} --cells {paths.CELLS} --tables yes")
