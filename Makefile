# Every target sets up what it needs, once; `make demo` and `make test` are the main ones.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SMALL_WORK := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
# what meets scikit-learn, skorch and numpy; set it to nothing for all tests
OLDEST_TESTS ?= tests/test_callbacks.py tests/test_columns.py tests/test_common.py \
	tests/test_import.py tests/test_parity_sklearn.py tests/test_persistence.py \
	tests/test_pipeline.py tests/test_saved_models.py tests/test_search.py tests/test_sklearn_mlp.py \
	tests/test_tabular.py tests/inspection

.PHONY: demo test test-slow test-all near check bench docs package oldest clean install

demo: install
	$(SMALL_WORK) $(BIN)/python examples/demo.py

test: check
	$(SMALL_WORK) $(BIN)/python -m pytest -n 2 -q -m "not slow"

test-slow: install
	$(SMALL_WORK) $(BIN)/python -m pytest -n 2 -q -m slow

test-all: test test-slow

near: install
	$(SMALL_WORK) $(BIN)/python tests/near.py $(FILES)

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
	$(BIN)/python benchmarks/bench_steps.py
	$(BIN)/python benchmarks/bench_search.py
	$(BIN)/python benchmarks/bench_checkpoints.py
	$(BIN)/python benchmarks/report.py

docs: $(VENV)/installed-docs
	$(SMALL_WORK) MPLBACKEND=Agg $(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

package: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt build twine
	$(SMALL_WORK) $(BIN)/python tests/check_package.py

oldest: $(VENV)-oldest/installed
	$(SMALL_WORK) $(VENV)-oldest/bin/python -m pytest -n 2 -q $(OLDEST_TESTS)

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[plots,tests]'
	touch $@

$(VENV)-oldest/installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python -m pip install --quiet --constraint constraints-oldest.txt --editable '.[plots,tests]'
	touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-oldest docs/_build docs/api docs/gallery docs/project docs/sg_execution_times.rst
	rm -rf .mypy_cache .pytest_cache .ruff_cache
