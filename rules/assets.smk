# Models, corpora and task data: the only rules that use the network.


rule fetch_model:
    input:
        files=needs("fetch_model", "files"),
        training=needs("fetch_model", "training"),
    output:
        **carried(paths.MODEL),
        asset=paths.MODEL,
    log:
        log_of("fetch_model"),
    benchmark:
        benchmark_of("fetch_model")
    localrule: True
    conda:
        "../environment.yml"
    params:
        spec=spec_of("fetch_model"),
    shell:
        and_carried(
            "python -m prunebench.stages fetch_model --spec {params.spec:q} --training {input.training} "
            "--asset {output.asset} 2> {log}"
        )


rule fetch_corpus:
    input:
        files=needs("fetch_corpus", "files"),
    output:
        **carried(paths.CORPUS),
        asset=paths.CORPUS,
    log:
        log_of("fetch_corpus"),
    benchmark:
        benchmark_of("fetch_corpus")
    # Evaluations of the dense model need the text, and would wait for pruning jobs that come before its download.
    priority: 3
    localrule: True
    conda:
        "../environment.yml"
    params:
        spec=spec_of("fetch_corpus"),
    shell:
        and_carried("python -m prunebench.stages fetch_corpus --spec {params.spec:q} --asset {output.asset} 2> {log}")


rule fetch_tasks:
    input:
        files=needs("fetch_tasks", "files"),
    output:
        **carried(paths.TASKS),
        asset=paths.TASKS,
    log:
        log_of("fetch_tasks"),
    benchmark:
        benchmark_of("fetch_tasks")
    priority: 3  # as for texts
    localrule: True
    conda:
        "../environment.yml"
    params:
        spec=spec_of("fetch_tasks"),
    shell:
        and_carried("python -m prunebench.stages fetch_tasks --spec {params.spec:q} --asset {output.asset} 2> {log}")
