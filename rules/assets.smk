# Models, corpora and task data: the only rules that use the network.


rule fetch_model:
    input:
        lambda wildcards: plan.model_files(wildcards.model),
        training=lambda wildcards: plan.training(wildcards.model),
    output:
        asset=paths.MODEL,
    log:
        paths.log("fetch_model"),
    benchmark:
        paths.benchmark("fetch_model")
    conda:
        "../environment.yml"
    params:
        spec=lambda wildcards: plan.specs.model(wildcards.model),
    shell:
        "python workflow/scripts/fetch_model.py --spec {params.spec:q} --training {input.training} "
        "--asset {output.asset} 2> {log}"


rule fetch_corpus:
    input:
        lambda wildcards: plan.corpus_files(wildcards.corpus),
    output:
        asset=paths.CORPUS,
    log:
        paths.log("fetch_corpus"),
    benchmark:
        paths.benchmark("fetch_corpus")
    conda:
        "../environment.yml"
    params:
        spec=lambda wildcards: plan.specs.corpus(wildcards.corpus),
    shell:
        "python workflow/scripts/fetch_corpus.py --spec {params.spec:q} --asset {output.asset} 2> {log}"


rule fetch_tasks:
    input:
        lambda wildcards: plan.task_files(wildcards.tasks),
    output:
        asset=paths.TASKS,
    log:
        paths.log("fetch_tasks"),
    benchmark:
        paths.benchmark("fetch_tasks")
    conda:
        "../environment.yml"
    params:
        spec=lambda wildcards: plan.specs.tasks(wildcards.tasks),
    shell:
        "python workflow/scripts/fetch_tasks.py --spec {params.spec:q} --asset {output.asset} 2> {log}"
