# How sparse each linear is to be; methods that use the same allocator share the result.


rule allocate:
    input:
        model=paths.MODEL,
        profile=lambda wildcards: plan.profile(plan.cell(wildcards)),
        search=lambda wildcards: plan.found(plan.cell(wildcards)),
    output:
        allocation=paths.ALLOCATION,
    log:
        paths.log("allocate"),
    benchmark:
        paths.benchmark("allocate")
    conda:
        "../environment.yml"
    params:
        spec=lambda wildcards: plan.specs.allocation(plan.cell(wildcards)),
    shell:
        "python workflow/scripts/allocate.py --spec {params.spec:q} --model {input.model} --profile {input.profile} "
        "--search {input.search} --allocation {output.allocation} 2> {log}"
