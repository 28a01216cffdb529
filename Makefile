# `make run` starts the demo, `make test` runs every check. Each makes its own .venv first and needs only Python and make.
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2

.PHONY: run test bench clean

run: .venv/run.done
	$(BIN)/python app.py

test: .venv/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m pytest -q -n $(JOBS)

bench: .venv/bench.done
	$(BIN)/python -m tools.bench

.venv/run.done: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -r requirements.txt
	touch $@

# The oracles go without their dependencies: torchvision asks for one build of torch, and only its Python half is used.
.venv/test.done: .venv/run.done requirements-dev.txt requirements-oracle.txt
	$(BIN)/python -m pip install -q -r requirements-dev.txt
	$(BIN)/python -m pip install -q --no-deps -r requirements-oracle.txt
	touch $@

# Other runtimes, for `python -m tools.bench paths`; without one, its rows say so.
.venv/bench.done: .venv/test.done requirements-bench.txt
	$(BIN)/python -m pip install -q --no-deps -r requirements-bench.txt
	touch $@

clean:
	rm -rf .venv build *.egg-info
