# What allocators that look at data need to know of a model; all of them share it.


rule profile:
    input:
        model=paths.MODEL,
        tokens=paths.TOKENS,
        files=asset_files("profile"),
    output:
        profile=paths.PROFILE,
        measured=paths.PROFILE_MEASURED,
    log:
        log_of("profile"),
    benchmark:
        benchmark_of("profile")
    conda:
        "../environment.yml"
    threads: threads_of("profile")
    resources:
        gpu=gpus_of("profile"),
        mem_mb=memory_of("profile"),
        runtime=minutes_of("profile"),
    params:
        spec=spec_of("profile"),
    shell:
        "python -m prunebench.stages profile --spec {params.spec:q} --threads {threads} --gpus {resources.gpu} "
        "--model {input.model} --tokens {input.tokens} --profile {output.profile} --measured {output.measured} "
        "2> {log}"
