# What allocators that look at data need to know of a model; all of them share it.


rule profile:
    input:
        model=paths.MODEL,
        tokens=paths.TOKENS,
    output:
        profile=paths.PROFILE,
        measured=paths.PROFILE_MEASURED,
    log:
        paths.log("profile"),
    benchmark:
        paths.benchmark("profile")
    conda:
        "../environment.yml"
    threads: plan.config.compute.threads
    resources:
        gpu=gpus_per_job,
        mem_mb=memory("profile"),
        runtime=minutes("profile"),
    params:
        spec=lambda wildcards: plan.specs.profile(wildcards.model, wildcards.calibration, int(wildcards.seed)),
    shell:
        "python workflow/scripts/profile_model.py --spec {params.spec:q} --threads {threads} --model {input.model} "
        "--tokens {input.tokens} --profile {output.profile} --measured {output.measured} 2> {log}"
