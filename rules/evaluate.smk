# One suite on one cell; prints its headline number.


rule evaluate:
    input:
        model=paths.MODEL,
        pruned=paths.PRUNED,
        weights=paths.WEIGHTS,
        assets=lambda wildcards: [paths.ASSET.format(asset=asset) for asset in plan.suite_assets(wildcards.suite)],
    output:
        result=ensure(paths.EVALUATION, non_empty=True),
        measured=paths.EVALUATION_MEASURED,
    log:
        paths.log("evaluate"),
    benchmark:
        paths.benchmark("evaluate")
    conda:
        "../environment.yml"
    threads: lambda wildcards: plan.evaluate_threads(wildcards.suite)
    resources:
        gpu=gpus_per_job,
        mem_mb=memory("evaluate"),
        runtime=minutes("evaluate"),
    params:
        spec=lambda wildcards: plan.specs.evaluation(plan.cell(wildcards), wildcards.suite),
    shell:
        "python workflow/scripts/evaluate.py --spec {params.spec:q} --threads {threads} --cell '{wildcards.model} "
        "{wildcards.method} {wildcards.allocator} {wildcards.point}' --model {input.model} --pruned {input.pruned} "
        "--weights {input.weights} --assets {input.assets} --result {output.result} --measured {output.measured} "
        "2> {log}"
