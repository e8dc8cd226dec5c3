# A model whose weights no package has, from random ones.


from prunebench.plan.jobs.train import NAMES as TRAINED


rule train_model:
    input:
        corpora=needs("train_model", "corpora"),
        files=asset_files("train_model"),
    output:
        [output_of("train_model", name) for name in TRAINED],
        training=filled(output_of("train_model", "training")),
        measured=output_of("train_model", "measured"),
    log:
        log_of("train_model"),
    benchmark:
        benchmark_of("train_model")
    conda:
        "../environment.yml"
    threads: threads_of("train_model")
    resources:
        gpu=gpus_of("train_model"),
        mem_mb=memory_of("train_model"),
        runtime=minutes_of("train_model"),
    params:
        spec=spec_of("train_model"),
    shell:
        "python -m prunebench.stages train_model --spec {params.spec:q} --threads {threads} --gpus {resources.gpu} "
        "--corpora {input.corpora} --training {output.training} --measured {output.measured} 2> {log}"
