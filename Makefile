# One-liners over scripts/*.py, which run without make too (Windows: `python scripts/setup.py`, `python scripts/demo.py`).
#   make setup [ACCELERATOR=cpu|cuda] [TORCH_INDEX=…]     make demo [IMAGE=path]     make help

PYTHON ?= python3
VENV := .venv/bin/python
VENV_BLENDER := .venv-blender/bin/python
BPY ?= 5.0
VENV_BPY := .venv-bpy-$(BPY)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-backend test-blender test-bpy soak bench selftest build extension-repo train-starter check format clean

help:           ## this list
	@sed -n 's/^\([a-z-]*\):.*## */  \1\t/p' Makefile | expand -t 18

setup:          ## make .venv and .venv-blender
	@$(PYTHON) scripts/setup.py

demo: setup     ## one picture becomes out/<name>.blend, .glb, .ply and preview.png (IMAGE=path for your own)
	$(PYTHON) scripts/demo.py $(if $(IMAGE),--image "$(IMAGE)")

# Two processes side by side, each with half of the processor; the tests of a file stay together and share what they made.
PYTEST := -m pytest -n 2 --dist loadfile --no-loadscope-reorder
test-backend test-blender test-bpy: export OMP_NUM_THREADS ?= \
  $(shell $(PYTHON) -c 'import os; print(max(1, os.cpu_count() // 2))')

test: test-backend test-blender  ## every test

test-backend: setup  ## tests that need no Blender
	$(VENV) $(PYTEST) tests --ignore=tests/blender

# What Blender has freed is overwritten, so that a use of it fails each time and not by chance.
test-blender test-bpy: export MALLOC_PERTURB_ = 165

test-blender: setup  ## tests inside Blender
	$(VENV_BLENDER) $(PYTEST) tests/blender

test-bpy: setup $(VENV_BPY)/installed  ## tests inside another Blender: make test-bpy BPY=4.2 (or 5.0)
	$(VENV_BPY)/bin/python $(PYTEST) tests/blender --ignore=tests/blender/window $(ARGS)

$(VENV_BPY)/installed:
	$(VENV_BLENDER) -m venv --clear $(VENV_BPY)
	$(VENV_BPY)/bin/python -m pip install --quiet "bpy==$(BPY).*" pytest pytest-xdist
	touch $@

soak: setup     ## 1,000 injected faults in Blender, with a fake and the real backend (ARGS="--seed 2 --faults 100 --real 0")
	$(VENV_BLENDER) tests/blender/soak/soak.py $(ARGS)

bench: setup    ## time every stage
	$(VENV) -m backend bench $(ARGS)

selftest: setup ## compare every part with its bundled golden
	$(VENV) -m backend selftest $(ARGS)

build: setup    ## dist/trellis-<version>.zip, to be installed in Blender
	$(PYTHON) scripts/build_extension.py

extension-repo: setup  ## dist/repository, a static folder to host: Blender installs and updates the extension from it
	$(PYTHON) scripts/build_extension.py --repository

# No setup: the machine with the GPU may have a Python with torch, numpy, numba, scipy, pillow, safetensors and nothing to download from.
train-starter:  ## train the bundled model again (DATA=folder DEVICE=cuda MINUTES=25 PIECE=9 OUT=folder)
	$(or $(wildcard $(VENV)),$(PYTHON)) -m backend train --recipe starter --data $(or $(DATA),data) \
	  $(if $(DEVICE),--device $(DEVICE)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(PIECE),--piece-minutes $(PIECE)) \
	  $(if $(OUT),--out "$(OUT)") $(ARGS)

check: setup    ## formatting, lint, types
	$(VENV) -m ruff format --check .
	$(VENV) -m ruff check .
	$(VENV) -m mypy

format: setup   ## put the formatting right
	$(VENV) -m ruff format .
	$(VENV) -m ruff check --fix .

clean:          ## remove what was built and written; the environments stay
	rm -rf out dist build .pytest_cache .ruff_cache .mypy_cache .hypothesis
