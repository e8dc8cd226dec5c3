# One cell's weights, and what stays of them.


rule prune:
    input:
        model=paths.MODEL,
        tokens=needs("prune", "tokens"),
        gradients=needs("prune", "gradients"),
        allocation=needs("prune", "allocation"),
        assets=needs("prune", "assets"),
        files=asset_files("prune"),
    output:
        # A temp file is deleted when the last job of the run that reads it is done.
        weights=paths.WEIGHTS if plan.config.keep_weights == "packed" else temp(paths.WEIGHTS),
        result=filled(paths.PRUNED),
        measured=paths.PRUNE_MEASURED,
    log:
        log_of("prune"),
    benchmark:
        benchmark_of("prune")
    priority: priority
    conda:
        "../environment.yml"
    threads: threads_of("prune")
    resources:
        gpu=gpus_of("prune"),
        mem_mb=memory_of("prune"),
        runtime=minutes_of("prune"),
    params:
        spec=spec_of("prune"),
    shell:
        "python -m prunebench.stages prune --spec {params.spec:q} --threads {threads} --gpus {resources.gpu} "
        "--model {input.model} --tokens {input.tokens} --gradients {input.gradients} --allocation {input.allocation} "
        "--assets {input.assets} --weights {output.weights} --result {output.result} --measured {output.measured} "
        "2> {log}"


rule keep_masks:
    # Only with keep_weights: mask. A job of its own, so that changing the setting prunes nothing again.
    input:
        weights=paths.WEIGHTS,
    output:
        masks=paths.MASKS,
    log:
        log_of("keep_masks"),
    conda:
        "../environment.yml"
    resources:
        mem_mb=memory_of("keep_masks"),
        runtime=minutes_of("keep_masks"),
    shell:
        "python -m prunebench.stages keep_masks --weights {input.weights} --masks {output.masks} 2> {log}"
