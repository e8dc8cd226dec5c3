# One suite on one cell; prints its headline number.


rule evaluate:
    input:
        model=paths.MODEL,
        pruned=paths.PRUNED,
        weights=paths.WEIGHTS,
        assets=needs("evaluate", "assets"),
        files=asset_files("evaluate"),
    output:
        result=filled(paths.EVALUATION),
        measured=paths.EVALUATION_MEASURED,
    log:
        log_of("evaluate"),
    benchmark:
        benchmark_of("evaluate")
    priority: priority
    conda:
        "../environment.yml"
    threads: threads_of("evaluate")
    resources:
        gpu=gpus_of("evaluate"),
        mem_mb=memory_of("evaluate"),
        runtime=minutes_of("evaluate"),
    params:
        spec=spec_of("evaluate"),
    shell:
        "python -m prunebench.stages evaluate --spec {params.spec:q} --threads {threads} --gpus {resources.gpu} "
        "--label '{wildcards.model} {wildcards.method} {wildcards.allocator} {wildcards.point} {wildcards.calibration}-"
        "seed{wildcards.seed}' --model {input.model} --pruned {input.pruned} --weights {input.weights} "
        "--assets {input.assets} --result {output.result} --measured {output.measured} 2> {log}"
