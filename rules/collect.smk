# Everything that is on disk and current, as one tidy table; paper-style tables from it.


rule collect:
    input:
        [paths.EVALUATION.format(**wildcards) for wildcards in plan.evaluations],
    output:
        cells=paths.CELLS,
    log:
        paths.log("collect"),
    conda:
        "../environment.yml"
    params:
        spec=lambda wildcards: plan.collect_spec(),
    shell:
        "python workflow/scripts/collect.py --spec {params.spec:q} --cells {output.cells} 2> {log}"


rule tables:
    input:
        cells=rules.collect.output.cells,
    output:
        expand(paths.TABLE, format=[of for of in paths.TABLE_FORMATS if of != "html"], allow_missing=True),
        report(
            expand(paths.TABLE, format="html", allow_missing=True)[0],
            caption="../workflow/captions/table.rst",
            category="Tables",
            subcategory="{study}",
            labels={"study": "{study}", "table": "{table}"},
        ),
    log:
        paths.log("tables"),
    conda:
        "../environment.yml"
    params:
        spec=lambda wildcards: plan.table_spec(wildcards.table),
    shell:
        "python workflow/scripts/tables.py --spec {params.spec:q} --cells {input.cells} --study {wildcards.study} "
        "--table {wildcards.table} --outputs {output} 2> {log}"
