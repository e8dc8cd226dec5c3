# Figures of each study; everything about all studies on one page.


rule figures:
    input:
        cells=rules.collect.output.cells,
        evidence=evidence(),
        searches=needs("figures", "searches"),
    output:
        png=here(output_of("figures", "png")),
        svg=report(
            here(output_of("figures", "svg")),
            caption="../workflow/captions/figure.rst",
            category="Figures",
            subcategory="{study}",
            labels={"study": "{study}", "figure": "{figure}"},
        ),
    log:
        log_of("figures"),
    localrule: True
    conda:
        "../environment.yml"
    params:
        spec=spec_of("figures"),
    shell:
        "python -m prunebench.stages figures --spec {params.spec:q} --cells {input.cells} --study {wildcards.study} "
        "--figure {wildcards.figure} --outputs {output} 2> {log}"


rule report:
    input:
        cells=rules.collect.output.cells,
        evidence=evidence(),
        searches=needs("report", "searches"),
        figures=needs("report", "figures"),
    output:
        page=report(
            here(paths.REPORT),
            caption="../workflow/captions/report.rst",
            category="Report",
            labels={"page": "all studies of this config"},
        ),
    log:
        log_of("report"),
    localrule: True
    conda:
        "../environment.yml"
    params:
        spec=spec_of("report"),
    shell:
        "python -m prunebench.stages report --spec {params.spec:q} --cells {input.cells} --page {output.page} "
        "2> {log}"
