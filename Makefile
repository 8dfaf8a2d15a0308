# What a developer and CI run; `make help` lists it. `make PYTHON=/path/to/python3.12 test` chooses the interpreter.

VENV := .venv
BUILD := build
INSTALLED := $(VENV)/.installed
NEWER_TRITON := $(BUILD)/triton-3.7.1
TRACKS := data/examples/expression
REGION := chr3:1-32,000
IGV := igv@3.8.10
IGV_SHA256 := 87b991ae2a720978172e269dd5127c495e56df5af31144dff19c83124e2f5744
SOURCE_ROOTS := PYTHONPATH=.:kernels
CANDIDATES := $(PYTHON) python3 python3.11 python3.12 python3.13 python3.14

.PHONY: help demo test lint bench gpu wheel igv clean
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name text; do printf '%-6s %s\n' "$$name" "$$text"; done

# From raw subreads where the extra align is installed, from aligned ones otherwise.
demo: $(INSTALLED) ## correct the example reads, print their errors; predict the example tracks, draw them
	@mkdir -p $(BUILD)
	@if $(VENV)/bin/python -c 'import edlib, mappy, pyabpoa' 2>/dev/null; then \
	    set -x; $(VENV)/bin/genoformer consensus run data/examples/subreads.bam --min-quality 0 -o $(BUILD)/corrected.fastq.gz; \
	else \
	    set -x; $(VENV)/bin/genoformer consensus correct data/examples/subreads_to_ccs.bam data/examples/ccs.bam --min-quality 0 -o $(BUILD)/corrected.fastq.gz; \
	fi
	$(VENV)/bin/python -m genoformer.workflows.demo $(BUILD)/corrected.fastq.gz
	$(VENV)/bin/genoformer expression predict $(TRACKS)/genome.fa $(REGION) -m expression-demo --rc --threads 1 -o $(BUILD)/tracks
	$(VENV)/bin/python -m genoformer.workflows.demo_tracks $(BUILD)/tracks $(TRACKS)/targets.txt $(REGION) $(BUILD)/tracks.png

test: $(INSTALLED) $(NEWER_TRITON) ## run the tests that need neither a GPU nor minutes
	$(VENV)/bin/python -m pytest -n 2 --dist loadgroup -m 'not gpu and not slow'

lint: $(INSTALLED) ## check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(INSTALLED) ## run every benchmark on the CPU
	@set -e; for file in benchmarks/bench_*.py; do echo "== $$file"; $(SOURCE_ROOTS) $(VENV)/bin/python "$$file"; done

# A machine with a GPU has its own torch: this target runs from the bare checkout and installs nothing.
# It collects only files with GPU tests, since the others import packages that such a machine may lack.
gpu: ## run the GPU tests and every benchmark on CUDA with the Python at hand
	$(SOURCE_ROOTS) $(or $(PYTHON),python3) -m pytest -m gpu $$(grep -rl --include='test_*.py' 'mark\.gpu' tests)
	@set -e; for file in benchmarks/bench_*.py; do echo "== $$file"; $(SOURCE_ROOTS) $(or $(PYTHON),python3) "$$file" --device cuda; done

wheel: $(INSTALLED) ## build sdist and wheel into dist/
	$(VENV)/bin/python -m hatchling build --clean -t sdist -t wheel

igv: $(BUILD)/igv.min.js ## fetch igv.js by npm, for `variants report --igv build/igv.min.js`

# What is fetched is used only if it is the file that the page was tested with.
$(BUILD)/igv.min.js:
	@mkdir -p $@.folder
	cd $@.folder && npm pack --silent $(IGV)
	tar -xzf $@.folder/*.tgz -C $@.folder package/dist/igv.min.js
	echo "$(IGV_SHA256)  $@.folder/package/dist/igv.min.js" | sha256sum --check --quiet
	@mv $@.folder/package/dist/igv.min.js $@
	@rm -r $@.folder

clean: ## remove what these targets made
	rm -rf $(VENV) $(BUILD) dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find genoformer kernels tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The kernels are tested with the triton of constraints.txt and with a newer one, which lies beside the environment.
# It has wheels for Linux alone; elsewhere the folder stays empty and those tests are skipped.
$(NEWER_TRITON): | $(INSTALLED)
	@rm -rf $@ $@.partial
	@mkdir -p $@.partial
	if [ "$$(uname -s)" = Linux ]; then $(VENV)/bin/python -m pip install --disable-pip-version-check --no-deps --target $@.partial $(subst triton-,triton==,$(notdir $@)); fi
	@mv $@.partial $@

# torch is resolved through the constraints: without a pin, pip takes the newest build.
$(INSTALLED): pyproject.toml constraints.txt
	@for python in $(CANDIDATES); do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "$$python -m venv $(VENV)"; exec $$python -m venv $(VENV); \
	    fi; \
	done; \
	echo "make: found no Python >= 3.11 among: $(strip $(CANDIDATES)); install one, or name it: make PYTHON=/path/to/python3.11" >&2; \
	exit 1
	$(VENV)/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
