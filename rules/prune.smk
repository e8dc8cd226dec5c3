# One cell's weights.


rule prune:
    input:
        model=paths.MODEL,
        tokens=lambda wildcards: plan.tokens(plan.cell(wildcards)),
        allocation=lambda wildcards: plan.allocation(plan.cell(wildcards)),
        assets=lambda wildcards: [paths.ASSET.format(asset=asset) for asset in plan.method_assets(wildcards.method)],
    output:
        weights=paths.WEIGHTS,
        result=ensure(paths.PRUNED, non_empty=True),
        measured=paths.PRUNE_MEASURED,
    log:
        paths.log("prune", paths.CELL),
    benchmark:
        paths.benchmark("prune", paths.CELL)
    conda:
        "../environment.yml"
    threads: lambda wildcards: plan.prune_threads(plan.cell(wildcards))
    resources:
        gpu=resources.GPUS_PER_JOB,
    params:
        spec=lambda wildcards: plan.specs.prune(plan.cell(wildcards)),
    shell:
        "python workflow/scripts/prune.py --spec {params.spec:q} --threads {threads} --model {input.model} "
        "--tokens {input.tokens} --allocation {input.allocation} --assets {input.assets} --weights {output.weights} --result {output.result} "
        "--measured {output.measured} 2> {log}"
