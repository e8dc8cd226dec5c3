# Looking for a better allocation: one job per seed, and the best of them.


rule search_allocation:
    input:
        model=lambda wildcards: paths.MODEL.format(model=plan.config.searches[wildcards.search].model),
        corpus=lambda wildcards: paths.CORPUS.format(corpus=plan.config.searches[wildcards.search].corpus),
        profile=lambda wildcards: plan.search_profile(wildcards.search),
    output:
        result=ensure(paths.SEARCH, non_empty=True),
        history=paths.SEARCH_HISTORY,
        measured=paths.SEARCH_MEASURED,
    log:
        paths.log("search_allocation"),
    benchmark:
        paths.benchmark("search_allocation")
    conda:
        "../environment.yml"
    threads: lambda wildcards: plan.search_threads(wildcards.search)
    resources:
        gpu=gpus_per_job,
        mem_mb=memory("search_allocation"),
        runtime=minutes("search_allocation"),
    params:
        spec=lambda wildcards: plan.specs.search(wildcards.search, int(wildcards.seed)),
    shell:
        "python workflow/scripts/search_allocation.py --spec {params.spec:q} --threads {threads} "
        "--model {input.model} --corpus {input.corpus} --profile {input.profile} --result {output.result} "
        "--history {output.history} --measured {output.measured} 2> {log}"


rule gather_search:
    input:
        results=lambda wildcards: plan.seed_results(wildcards.search),
    output:
        best=ensure(paths.SEARCH_BEST, non_empty=True),
    log:
        paths.log("gather_search"),
    conda:
        "../environment.yml"
    params:
        spec=lambda wildcards: plan.specs.search_best(wildcards.search),
    shell:
        "python workflow/scripts/gather_search.py --spec {params.spec:q} --results {input.results} "
        "--best {output.best} 2> {log}"
