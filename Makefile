# Every command creates what it needs in .venv; only Python 3.11 or later and make are
# assumed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all peers lint bench bench-speed bench-callback bench-channels docs \
	docs-methods screenshots clean

demo: .venv/.demo
	TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -m keras_gradcam demo $(ARGS)

PYTEST := $(BIN)/python -m pytest -q -n auto --dist worksteal --durations=10

test: .venv/.test
	$(PYTEST) -m "not slow" $(ARGS)

# Also what takes long and rarely breaks.
test-all: .venv/.test
	$(PYTEST) $(ARGS)

# Our maps next to those of the PyTorch libraries, in an environment of its own.
peers: .venv-peers/.peers
	.venv-peers/bin/python -m pytest -q tests/peers $(ARGS)

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# All benchmarks and docs/benchmarks.md, for about half an hour; ARGS="--only speed" is
# one part, ARGS=--page only writes the page.
bench: .venv/.bench .venv-peers/.peers
	$(BIN)/python benchmarks/suite.py $(ARGS)

# Single benchmarks with options of their own, without the page.
bench-speed bench-callback bench-channels: .venv/.bench
	$(BIN)/python benchmarks/$(@:bench-%=%).py $(ARGS)

# Measures all methods for about ten minutes; with ARGS=--page it only writes the page.
docs-methods: .venv/.test
	$(BIN)/python benchmarks/methods.py $(ARGS)

# The pages that are made from test results.
docs: .venv/.test
	$(BIN)/python docs/file_tables.py
	$(BIN)/python -m pytest -q tests/model/test_models.py -k equals_the_reference --write-docs

# TensorBoard as the README shows it; needs Debian's chromium.
screenshots: .venv/.test
	$(BIN)/python tests/screenshots.py docs

clean:
	rm -rf .venv .venv-peers runs

# One stamp for each set of extras, made anew when the requirements change.
.venv/.demo: EXTRAS = demo,tensorboard
.venv/.test: EXTRAS = test
.venv/.dev: EXTRAS = dev
.venv/.demo .venv/.test .venv/.dev: setup.cfg
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable ".[$(EXTRAS)]"
	touch $@

# xplique asks for an older TensorFlow, with CUDA.
.venv/.bench: setup.cfg
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable ".[bench]"
	$(BIN)/pip install --quiet --no-deps xplique==2.0.2
	touch $@

.venv-peers/.peers: setup.cfg
	test -d .venv-peers || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --editable ".[peers]"
	.venv-peers/bin/pip install --quiet --no-deps grad-cam==1.5.7
	touch $@
