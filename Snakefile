# prunebench: model x method x allocator x sparsity -> paper-style tables.
#   snakemake --cores all                                              the study of config/config.yaml
#   snakemake --cores all --configfile config/studies/smoke.yaml       another one
#   snakemake -n                                                       what would run, and why
from pathlib import Path
from snakemake.utils import min_version

min_version("9.20")


# Not workflow.basedir, which lies elsewhere if another Snakefile includes this one or uses it as a module.
HERE = workflow.current_basedir.get_path_or_uri(secret_free=True)


include: "rules/common.smk"


# Where a rule says `localrule`, its jobs stay where snakemake runs: they take no time, need the network or only read
# small files. Nodes of a cluster often have no network, and a batch job costs more than these do.
for rules_of in sorted(Path(HERE, "rules").glob("*.smk")):
    # Only a study with a model that is trained here has use for the rule that trains it.
    if rules_of.stem != "common" and (rules_of.stem != "train" or plan.trains):

        include: rules_of


rule all:
    default_target: True
    input:
        # Already inputs of collect; here so that a deleted one is made again although cells.csv is there.
        rules.collect.input,
        [str(path) for job in plan.wanted for path in job.outputs],
    localrule: True


rule strict:
    input:
        rules.all.input,
        cells=rules.collect.output.cells,
    log:
        log_of("strict"),
    # For CI: as `all`, but any failed cell makes snakemake exit non-zero.
    localrule: True
    conda:
        "environment.yml"
    params:
        spec=spec_of("strict"),
    shell:
        "python -m prunebench.stages strict --spec {params.spec:q} --cells {input.cells} 2> {log}"


onsuccess:
    if not STORED:
        show_all_reports()
    if STORED:
        print(f"All tables, figures and the report are in the storage, such as {here(paths.REPORT)}")
    elif workflow.touch or RerunTrigger.PARAMS not in workflow.rerun_triggers:
        # Snakemake was told to keep files although they were made from other settings.
        show_what_is_valid()
    # A run of a part of the study may have left tables out, or as they were.
    elif any(job.rule.name == "all" for job in workflow.dag.needrun_jobs(exclude_finished=False)):
        jobs = [plan.job("tables", study=study, table=table) for study, table in plan.shown.tables]
        tables = [job.outputs[0].read_text(encoding="utf-8") for job in jobs]
        print("", *tables, f"Figures, and all there is to know of each cell: {here(paths.REPORT)}", sep="\n")


onerror:
    # What is written here is not what its jobs make: else a run of `collect` alone would do nothing afterwards.
    for job in workflow.dag.needrun_jobs():
        if job.rule.name in ("collect", "tables", "figures", "report"):
            workflow.persistence.started(job)
    # What could be computed was (keep-going): show that.
    if not STORED:
        show_what_is_valid()
        show_all_reports()
        say_how_to_go_on()
