# A model whose weights no package has, from random ones.


rule train_model:
    input:
        corpora=lambda wildcards: [paths.CORPUS.format(corpus=name) for name in plan.training_corpora(wildcards.model)],
    output:
        paths.TRAINED,
        training=ensure(paths.TRAINING, non_empty=True),
        measured=paths.TRAINING_MEASURED,
    log:
        paths.log("train_model"),
    benchmark:
        paths.benchmark("train_model")
    conda:
        "../environment.yml"
    threads: lambda wildcards: plan.training_threads(wildcards.model)
    resources:
        gpu=gpus_per_job,
        mem_mb=memory("train_model"),
        runtime=minutes("train_model"),
    params:
        spec=lambda wildcards: plan.specs.training(wildcards.model),
    shell:
        "python workflow/scripts/train_model.py --spec {params.spec:q} --threads {threads} --corpora {input.corpora} "
        "--training {output.training} --measured {output.measured} 2> {log}"
