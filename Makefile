# Two commands: `make demo` and `make test`. Both make .venv from the lock file first.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: demo test test-long test-slow lint lock clean

.venv/installed: requirements.lock setup.py
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

demo: .venv/installed
	$(BIN)/python -m metaaug_tf.main --dataset=glyphs --workdir=runs/demo

test: .venv/installed lint
	$(BIN)/python -m pytest -m "not slow and not long"

test-long: .venv/installed
	$(BIN)/python -m pytest -m "long and not slow"

test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --extra test --extra addons \
		--extra serve --extra onnx --extra litert setup.py --output-file requirements.lock

clean:
	rm -rf .venv build *.egg-info
