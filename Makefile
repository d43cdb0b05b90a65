# Every command creates what it needs in .venv; only Python 3.11 or later and make are
# assumed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint bench bench-callback docs screenshots clean

demo: .venv/.demo
	TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -m keras_gradcam demo $(ARGS)

test: .venv/.test
	$(BIN)/python -m pytest -q -n auto --dist worksteal --durations=10 $(ARGS)

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.test
	$(BIN)/python benchmarks/speed.py $(ARGS)

bench-callback: .venv/.test
	$(BIN)/python benchmarks/callback.py $(ARGS)

# The pages that are made from test results.
docs: .venv/.test
	$(BIN)/python -m pytest -q tests/test_models.py -k equals_the_reference --write-docs

# TensorBoard as the README shows it; needs Debian's chromium.
screenshots: .venv/.test
	$(BIN)/python tests/screenshots.py docs

clean:
	rm -rf .venv runs

# One stamp for each set of extras, made anew when the requirements change.
.venv/.demo: EXTRAS = demo,tensorboard
.venv/.test: EXTRAS = test
.venv/.dev: EXTRAS = dev
.venv/.demo .venv/.test .venv/.dev: setup.cfg
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable ".[$(EXTRAS)]"
	touch $@
