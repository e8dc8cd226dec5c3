# How sparse each linear is to be; methods that use the same allocator share the result.


rule allocate:
    input:
        model=paths.MODEL,
        profile=lambda wildcards: plan.profile(plan.cell(wildcards)),
        search=lambda wildcards: plan.found(plan.cell(wildcards)),
        tokens=lambda wildcards: plan.allocator_tokens(plan.cell(wildcards)),
    output:
        allocation=paths.ALLOCATION,
        measured=paths.ALLOCATION_MEASURED,
    log:
        paths.log("allocate"),
    benchmark:
        paths.benchmark("allocate")
    conda:
        "../environment.yml"
    threads: lambda wildcards: plan.allocate_threads(plan.cell(wildcards))
    resources:
        gpu=gpus_to_allocate,
        mem_mb=memory("allocate"),
        runtime=minutes("allocate", gpus_to_allocate),
    params:
        spec=lambda wildcards: plan.specs.allocation(plan.cell(wildcards)),
    shell:
        "python workflow/scripts/allocate.py --spec {params.spec:q} --threads {threads} --model {input.model} "
        "--profile {input.profile} --search {input.search} --tokens {input.tokens} --allocation {output.allocation} "
        "--measured {output.measured} 2> {log}"
