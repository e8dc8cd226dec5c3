# Everything that is on disk and current, as one tidy table; paper-style tables from it.


rule collect:
    input:
        evaluations=needs("collect", "evaluations"),
        evidence=evidence(),
    output:
        cells=here(paths.CELLS),
    log:
        log_of("collect"),
    localrule: True
    conda:
        "../environment.yml"
    params:
        spec=spec_of("collect"),
    shell:
        "python -m prunebench.stages collect --spec {params.spec:q} --cells {output.cells} 2> {log}"


rule tables:
    input:
        cells=rules.collect.output.cells,
        evidence=evidence(),
    output:
        md=here(output_of("tables", "md")),
        csv=here(output_of("tables", "csv")),
        tex=here(output_of("tables", "tex")),
        html=report(
            here(output_of("tables", "html")),
            caption="../workflow/captions/table.rst",
            category="Tables",
            subcategory="{study}",
            labels={"study": "{study}", "table": "{table}"},
        ),
    log:
        log_of("tables"),
    localrule: True
    conda:
        "../environment.yml"
    params:
        spec=spec_of("tables"),
    shell:
        "python -m prunebench.stages tables --spec {params.spec:q} --cells {input.cells} --study {wildcards.study} "
        "--table {wildcards.table} --outputs {output} 2> {log}"
