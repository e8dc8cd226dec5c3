# One token file per (model, corpus, size, seed), shared by all methods.


rule calibrate:
    input:
        model=paths.MODEL,
        corpus=needs("calibrate", "corpus"),
        files=asset_files("calibrate"),
    output:
        tokens=paths.TOKENS,
        record=paths.TOKENS_RECORD,
    log:
        log_of("calibrate"),
    benchmark:
        benchmark_of("calibrate")
    conda:
        "../environment.yml"
    threads: threads_of("calibrate")
    resources:
        gpu=gpus_of("calibrate"),
        mem_mb=memory_of("calibrate"),
        runtime=minutes_of("calibrate"),
    params:
        spec=spec_of("calibrate"),
    shell:
        "python -m prunebench.stages calibrate --spec {params.spec:q} --threads {threads} --gpus {resources.gpu} "
        "--model {input.model} --corpus {input.corpus} --tokens {output.tokens} --record {output.record} 2> {log}"
