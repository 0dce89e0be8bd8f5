# Every target sets up what it needs, once; `make demo` and `make test` are the main ones.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SMALL_WORK := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: demo test check bench clean install

demo: install
	$(BIN)/python examples/plot_choose_rho.py

test: check
	$(SMALL_WORK) $(BIN)/python -m pytest -n 2 -q

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[benchmarks]'
	$(BIN)/python benchmarks/bench_fit.py
	$(BIN)/python benchmarks/bench_cost.py
	$(BIN)/python benchmarks/compare_references.py
	$(BIN)/python benchmarks/bench_scale.py
	$(BIN)/python benchmarks/bench_start.py
	$(BIN)/python benchmarks/bench_search.py
	$(BIN)/python benchmarks/report.py

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[plots,tests]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
