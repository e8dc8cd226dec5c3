# Looking for a better allocation: one job per seed, and the best of them.


rule search_allocation:
    input:
        model=needs("search_allocation", "model"),
        corpus=needs("search_allocation", "corpus"),
        profile=needs("search_allocation", "profile"),
        files=asset_files("search_allocation"),
    output:
        result=filled(paths.SEARCH),
        history=paths.SEARCH_HISTORY,
        measured=paths.SEARCH_MEASURED,
    log:
        log_of("search_allocation"),
    benchmark:
        benchmark_of("search_allocation")
    conda:
        "../environment.yml"
    threads: threads_of("search_allocation")
    resources:
        gpu=gpus_of("search_allocation"),
        mem_mb=memory_of("search_allocation"),
        runtime=minutes_of("search_allocation"),
    params:
        spec=spec_of("search_allocation"),
    shell:
        "python -m prunebench.stages search_allocation --spec {params.spec:q} --threads {threads} "
        "--gpus {resources.gpu} --model {input.model} --corpus {input.corpus} --profile {input.profile} "
        "--result {output.result} --history {output.history} --measured {output.measured} 2> {log}"


rule gather_search:
    input:
        results=needs("gather_search", "results"),
    output:
        best=filled(paths.SEARCH_BEST),
    log:
        log_of("gather_search"),
    localrule: True
    conda:
        "../environment.yml"
    params:
        spec=spec_of("gather_search"),
    shell:
        "python -m prunebench.stages gather_search --spec {params.spec:q} --results {input.results} "
        "--best {output.best} 2> {log}"
