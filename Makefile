# Shorthand only: each target is a line or two that you could type in an environment of your own.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
SLURM := slurmctld slurmd slurm-client munge
# Nothing here needs the Hugging Face hub: models and text come from registry packages.
export HF_HUB_OFFLINE := 1

.PHONY: help install kernels demo smoke test test-device test-faults test-studies test-cluster test-storage test-wheel test-transformers test-kernels lint bench bench-peers schema docs site golden clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /make \1\t/' | expand -t 20

install: $(VENV)/.installed  ## a virtual environment with everything, in .venv

# torch first and by its exact version: as somebody's dependency, pip would take the newest build with all of CUDA.
$(VENV)/.installed: pyproject.toml constraints.txt workflow/prunebench/packed/kernels.cpp
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,slurm]'
	touch $@

kernels:  ## build the kernels for packed models in place, where the package is used without an installation
	python setup.py -q build_ext --inplace

demo: install  ## prune and evaluate the quickstart study, print its tables
	snakemake --cores all

smoke: install  ## every rule once, in under 4 minutes
	snakemake strict --cores all --configfile config/studies/smoke.yaml

test: install  ## all tests
	pytest -n logical --dist loadfile

test-studies: install  ## every study of the papers to its tables, in miniature, in about ten minutes
	pytest -n logical -m "slow or studies" tests/e2e/test_miniatures.py tests/e2e/test_hub_study.py tests/dag/test_papers.py

test-device: install  ## the tests that open a model, on a stand-in accelerator, in about ten minutes
	pytest -n logical --dist loadfile --device standin tests/gpu $(addprefix tests/contract/test_,$(addsuffix .py,allocators besa dense_fit dsa engine gradients harness methods protocol reconstruct search sensitivity sparsegpt sparsellm))

test-cluster: install  ## tests through a real SLURM of one node, installed if there is none (root, Debian)
	command -v slurmctld || { apt-get update -qq && apt-get install -y -qq --no-install-recommends $(SLURM); } || true
	pytest -v -m cluster tests/cluster

test-storage: install  ## a study without a shared file system, in two minutes; needs rsync
	pytest -v -m storage tests/dag/test_storage.py

test-wheel: install  ## the wheel and the archive of sources, built and used in another folder, in about five minutes
	pytest -v -m wheel tests/unit/test_installed.py tests/e2e/test_wheel.py tests/e2e/test_container.py

test-transformers: install  ## exports as older releases of transformers read them, each installed into an environment of its own
	pytest -v -m transformers tests/releases

test-kernels: install  ## the kernels for packed models under AddressSanitizer, in a minute; needs GCC and such a CPU
	g++ -O1 -g -std=c++17 -fopenmp -fsanitize=address -shared -fPIC -Wno-maybe-uninitialized workflow/prunebench/packed/kernels.cpp -o kernels-asan.so
	ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libstdc++.so)" python tests/kernels_under_asan.py ./kernels-asan.so

lint: install  ## formatting, style, types, workflow
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile rules
	mypy
	snakemake --lint

bench: install  ## speed, beside a plain version and a counted floor, in about fifty minutes
	PYTHONPATH=workflow python -m benches.run
	PYTHONPATH=workflow python -m benches.block

bench-peers: install  ## speed, beside llm-compressor in an environment of its own, in about ten minutes
	$(PYTHON) -m venv .peers
	.peers/bin/pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt)
	.peers/bin/pip install --quiet --disable-pip-version-check $$(grep '^torch==' constraints.txt) -r benches/peers/requirements.txt
	PYTHONPATH=workflow python -m benches.peers

schema: install  ## regenerate config/schema.json from the pydantic models
	PYTHONPATH=workflow python -c "from prunebench.config.schema import json_schema; print(json_schema(), end='')" > config/schema.json

docs: install  ## regenerate docs/methods.md and docs/suites.md from plug-ins and catalogs
	PYTHONPATH=workflow python -m prunebench.choices.pages

site: install  ## the documents as a site in site/; dead links and misspelt words are errors
	codespell
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

golden: install  ## record new golden numbers, after an intended change of a method
	PYTHONPATH=workflow:tests python tests/golden/values.py

test-faults: install  ## campaigns of random faults: kills, damage, full disks and others, in about two hours
	for file in tests/campaigns/[a-z]*.py; do name=$$(basename $$file .py); [ $$name = counts ] || PYTHONPATH=workflow:tests python -m tests.campaigns.$$name || exit 1; done

clean:  ## remove results and logs, keep downloads
	rm -rf results/[!R]* logs benchmarks .snakemake
