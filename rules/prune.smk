# One cell's weights, and what stays of them.


rule prune:
    input:
        model=paths.MODEL,
        tokens=lambda wildcards: plan.tokens(plan.cell(wildcards)),
        gradients=lambda wildcards: plan.gradients(plan.cell(wildcards)),
        allocation=lambda wildcards: plan.allocation(plan.cell(wildcards)),
        assets=lambda wildcards: [paths.ASSET.format(asset=asset) for asset in plan.method_assets(wildcards.method)],
    output:
        # A temp file is deleted when the last job of the run that reads it is done.
        weights=paths.WEIGHTS if plan.config.keep_weights == "packed" else temp(paths.WEIGHTS),
        result=ensure(paths.PRUNED, non_empty=True),
        measured=paths.PRUNE_MEASURED,
    log:
        paths.log("prune"),
    benchmark:
        paths.benchmark("prune")
    conda:
        "../environment.yml"
    threads: lambda wildcards: plan.prune_threads(plan.cell(wildcards))
    resources:
        gpu=gpus_per_job,
        mem_mb=memory("prune"),
        runtime=minutes("prune"),
    params:
        spec=lambda wildcards: plan.specs.prune(plan.cell(wildcards)),
    shell:
        "python workflow/scripts/prune.py --spec {params.spec:q} --threads {threads} --model {input.model} "
        "--tokens {input.tokens} --gradients {input.gradients} --allocation {input.allocation} --assets {input.assets} "
        "--weights {output.weights} --result {output.result} --measured {output.measured} 2> {log}"


rule keep_masks:
    # Only with keep_weights: mask. A job of its own, so that changing the setting prunes nothing again.
    input:
        weights=paths.WEIGHTS,
    output:
        masks=paths.MASKS,
    log:
        paths.log("keep_masks"),
    conda:
        "../environment.yml"
    resources:
        mem_mb=memory("keep_masks"),
        runtime=minutes("keep_masks"),
    shell:
        "python workflow/scripts/keep_masks.py --weights {input.weights} --masks {output.masks} 2> {log}"
