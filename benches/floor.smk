# What Snakemake itself takes for a study of benches/scale.py: as many jobs, files, logs and resources, and no function.
CELL = "{model}/{method}/{allocator}/{point}/{calibration}-seed{seed}"
METHODS, ALLOCATORS, SEEDS = ("wanda", "sparsegpt", "ria"), ("uniform", "owl"), int(config["seeds"])
EVALS = [
    f"results/evaluations/made_up/{m}/{a}/s{p}/text-seed{s}/ppl.json"
    for m in METHODS
    for a in ALLOCATORS
    for p in range(25)
    for s in range(SEEDS)
]


wildcard_constraints:
    model=r"[a-z0-9][a-z0-9_.]*",
    method=r"[a-z0-9][a-z0-9_.]*",
    allocator=r"[a-z0-9][a-z0-9_.]*",
    calibration=r"[a-z0-9][a-z0-9_.]*",
    point=r"s\d+",
    seed=r"\d+",


rule all:
    input:
        "results/cells.csv",
        EVALS,


rule collect:
    input:
        EVALS,
    output:
        "results/cells.csv",
    shell:
        "true"


rule evaluate:
    input:
        model="resources/models/{model}/asset.json",
        pruned="results/pruned/" + CELL + "/prune.json",
        weights="results/pruned/" + CELL + "/weights.safetensors",
        corpus="resources/corpora/text/asset.json",
    output:
        result="results/evaluations/" + CELL + "/{suite}.json",
        measured="results/evaluations/" + CELL + "/{suite}.measured.json",
    log:
        "logs/evaluate/" + CELL + "/{suite}.log",
    benchmark:
        "benchmarks/evaluate/" + CELL + "/{suite}.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        spec="x",
    shell:
        "true"


rule prune:
    input:
        model="resources/models/{model}/asset.json",
        tokens="results/calibration/{model}/{calibration}-seed{seed}.npy",
        allocation="results/allocations/{model}/{allocator}/{point}/{calibration}-seed{seed}.json",
    output:
        result="results/pruned/" + CELL + "/prune.json",
        weights="results/pruned/" + CELL + "/weights.safetensors",
        measured="results/pruned/" + CELL + "/measured.json",
    log:
        "logs/prune/" + CELL + ".log",
    benchmark:
        "benchmarks/prune/" + CELL + ".tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        spec="x",
    shell:
        "true"


rule allocate:
    input:
        model="resources/models/{model}/asset.json",
        profile="results/profiles/{model}/{calibration}-seed{seed}.safetensors",
    output:
        "results/allocations/{model}/{allocator}/{point}/{calibration}-seed{seed}.json",
        "results/allocations/{model}/{allocator}/{point}/{calibration}-seed{seed}.measured.json",
    params:
        spec="x",
    shell:
        "true"


rule profile:
    input:
        "resources/models/{model}/asset.json",
        "results/calibration/{model}/{calibration}-seed{seed}.npy",
    output:
        "results/profiles/{model}/{calibration}-seed{seed}.safetensors",
    params:
        spec="x",
    shell:
        "true"


rule calibrate:
    input:
        "resources/models/{model}/asset.json",
        "resources/corpora/text/asset.json",
    output:
        "results/calibration/{model}/{calibration}-seed{seed}.npy",
    params:
        spec="x",
    shell:
        "true"


rule fetch:
    output:
        "resources/{kind}/{name}/asset.json",
    params:
        spec="x",
    shell:
        "true"
