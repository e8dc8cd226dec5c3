# Figures of each study; everything about all studies on one page.


rule figures:
    input:
        cells=rules.collect.output.cells,
        searches=lambda wildcards: plan.shown.figure_inputs(wildcards.study, wildcards.figure),
    output:
        report(
            expand(paths.FIGURE, format="svg", allow_missing=True)[0],
            caption="../workflow/captions/figure.rst",
            category="Figures",
            subcategory="{study}",
            labels={"study": "{study}", "figure": "{figure}"},
        ),
        expand(paths.FIGURE, format=[of for of in paths.FIGURE_FORMATS if of != "svg"], allow_missing=True),
    log:
        paths.log("figures"),
    conda:
        "../environment.yml"
    params:
        spec=lambda wildcards: plan.figure_spec(wildcards.figure),
    shell:
        "python workflow/scripts/figures.py --spec {params.spec:q} --cells {input.cells} --study {wildcards.study} "
        "--figure {wildcards.figure} --outputs {output} 2> {log}"


rule report:
    input:
        cells=rules.collect.output.cells,
        searches=plan.shown.report_inputs,
    output:
        page=report(
            paths.REPORT,
            caption="../workflow/captions/report.rst",
            category="Report",
            labels={"page": "all studies of this config"},
        ),
    log:
        paths.log("report"),
    conda:
        "../environment.yml"
    params:
        spec=lambda wildcards: plan.report_spec(),
    shell:
        "python workflow/scripts/report.py --spec {params.spec:q} --cells {input.cells} --output {output.page} 2> {log}"
