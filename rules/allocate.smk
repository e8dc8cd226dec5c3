# How sparse each linear is to be; methods that use the same allocator share the result.


rule allocate:
    input:
        model=paths.MODEL,
        profile=needs("allocate", "profile"),
        search=needs("allocate", "search"),
        tokens=needs("allocate", "tokens"),
        files=asset_files("allocate"),
    output:
        allocation=paths.ALLOCATION,
        measured=paths.ALLOCATION_MEASURED,
    log:
        log_of("allocate"),
    benchmark:
        benchmark_of("allocate")
    priority: priority
    conda:
        "../environment.yml"
    threads: threads_of("allocate")
    resources:
        gpu=gpus_of("allocate"),
        mem_mb=memory_of("allocate"),
        runtime=minutes_of("allocate"),
    params:
        spec=spec_of("allocate"),
    shell:
        "python -m prunebench.stages allocate --spec {params.spec:q} --threads {threads} --gpus {resources.gpu} "
        "--model {input.model} --profile {input.profile} --search {input.search} --tokens {input.tokens} "
        "--allocation {output.allocation} --measured {output.measured} 2> {log}"
