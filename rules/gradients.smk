# How steeply the loss of the unpruned model depends on each weight; all methods that look at that share it.


rule gradients:
    input:
        model=paths.MODEL,
        tokens=paths.TOKENS,
    output:
        gradients=paths.GRADIENTS,
        measured=paths.GRADIENTS_MEASURED,
    log:
        paths.log("gradients"),
    benchmark:
        paths.benchmark("gradients")
    conda:
        "../environment.yml"
    threads: plan.config.compute.threads
    resources:
        gpu=gpus_per_job,
        mem_mb=memory("gradients"),
        runtime=minutes("gradients"),
    params:
        spec=lambda wildcards: plan.specs.gradients(wildcards.model, wildcards.calibration, int(wildcards.seed)),
    shell:
        "python workflow/scripts/gradients.py --spec {params.spec:q} --threads {threads} --model {input.model} "
        "--tokens {input.tokens} --gradients {output.gradients} --measured {output.measured} 2> {log}"
