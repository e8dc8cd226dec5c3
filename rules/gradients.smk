# How steeply the loss of the unpruned model depends on each weight; all methods that look at that share it.


rule gradients:
    input:
        model=paths.MODEL,
        tokens=paths.TOKENS,
        files=asset_files("gradients"),
    output:
        gradients=paths.GRADIENTS,
        measured=paths.GRADIENTS_MEASURED,
    log:
        log_of("gradients"),
    benchmark:
        benchmark_of("gradients")
    conda:
        "../environment.yml"
    threads: threads_of("gradients")
    resources:
        gpu=gpus_of("gradients"),
        mem_mb=memory_of("gradients"),
        runtime=minutes_of("gradients"),
    params:
        spec=spec_of("gradients"),
    shell:
        "python -m prunebench.stages gradients --spec {params.spec:q} --threads {threads} --gpus {resources.gpu} "
        "--model {input.model} --tokens {input.tokens} --gradients {output.gradients} --measured {output.measured} "
        "2> {log}"
