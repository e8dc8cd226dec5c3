# One token file per (model, corpus, size, seed), shared by all methods.


rule calibrate:
    input:
        model=paths.MODEL,
        corpus=lambda wildcards: paths.CORPUS.format(corpus=plan.calibration_corpus(wildcards.calibration)),
    output:
        tokens=paths.TOKENS,
        record=paths.TOKENS_RECORD,
    log:
        paths.log("calibrate"),
    benchmark:
        paths.benchmark("calibrate")
    conda:
        "../environment.yml"
    resources:
        mem_mb=memory("calibrate"),
        runtime=minutes("calibrate"),
    params:
        spec=lambda wildcards: plan.specs.tokens(wildcards.model, wildcards.calibration, int(wildcards.seed)),
    shell:
        "python workflow/scripts/calibrate.py --spec {params.spec:q} --model {input.model} --corpus {input.corpus} "
        "--tokens {output.tokens} --record {output.record} 2> {log}"
