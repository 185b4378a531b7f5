# Two commands do everything: `make study` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install study test lint sources generate results null search-simulation large scale kills faults soak docs bench gpu gpu-check nvrtc persistent-check gpu-plan bench-peer

install: $(VENV)/.installed

# The lock holds exact versions; torch without a local tag, so that a CPU build satisfies it where one is offered.
# It is complete (`make lint` checks that), so nothing is resolved; and what is imported is compiled then, which
# halves the seconds of an install.
$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-compile -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

study: install
	$(BIN)/harness run studies/quickstart.yaml

# Three processes on two cores: a test that waits for a server, a browser or a process leaves its core to another.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: install
	$(BIN)/pip check --quiet --disable-pip-version-check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The published systems; three seeds are for comparing numbers, not for a verdict, hence --force.
sources: install
	for study in s1 s2 s4 s5 gru; do $(BIN)/harness run studies/sources/$$study.yaml --force || exit 1; done

# The committed schema, the table of fields and the tables of studies/RESULTS.md; tests hold them equal.
generate: install
	$(BIN)/python tools/generate.py

# The whole report of each study whose records are kept: build/results/STUDY/report.html.
results: install
	$(BIN)/python tools/result_pages.py

# The documentation as a site, with the whole report of each study: build/docs/index.html. A minute; a test builds it
# with one of them.
docs: install
	$(BIN)/python -m sphinx --fail-on-warning --quiet --tag reports --doctree-dir build/docs-read docs build/docs

# Simulated studies whose truth is known, through the code that the report uses; minutes on one core.
null: install
	OMP_NUM_THREADS=1 $(BIN)/python tools/null_studies.py

# Searches whose landscape is known, through the code that searches and decides; some twenty minutes on one core.
search-simulation: install
	OMP_NUM_THREADS=1 $(BIN)/python tools/search_simulation.py

# How long the report of 20 arms, 50 seeds and 200 points takes; the root goes first, or tests/cells would be `cells`.
large: install
	PYTHONPATH=. $(BIN)/python tools/large_report.py

# What the driver costs from 100 to 10,000 trials, and what two Ray workers gain on one; with nothing else running.
scale: install
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python tools/scale.py

# Studies that are killed 1,000 times in files, and 100 times each on a Ray cluster and in PostgreSQL; hours. What is
# interrupted goes on where it was; to begin anew, remove studies/bench/kills-*.jsonl.
kills: install
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python tools/kills.py files --kills 1000
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python tools/kills.py ray --kills 100
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python tools/kills.py postgres --kills 100

# What docs/faults.md says of faults: the tests that tests/faults.toml names, counted; minutes. What is interrupted goes
# on where it was.
faults: install
	PYTHONPATH=.:tools OMP_NUM_THREADS=1 $(BIN)/python tools/docs_faults.py

# Small studies in a loop, half of them killed: memory, descriptors, threads and files must stay flat; half an hour.
soak: install
	PYTHONPATH=.:tests OMP_NUM_THREADS=1 $(BIN)/python tools/soak.py

# What every cell costs, beside torch.nn, the published loop and the machine's products; with nothing else running.
# Some forty minutes on 2 cores.
bench: install
	mkdir -p studies/bench
	$(BIN)/harness bench --engines cpu,scan,native --rounds 9 --json studies/bench/sources.json > studies/bench/sources.txt
	$(BIN)/harness bench --engines cpu --rounds 6 --shapes small,wide,words --json studies/bench/shapes.json > studies/bench/shapes.txt
	$(BIN)/harness bench --plot studies/bench/sources.json
	$(BIN)/harness bench --plot studies/bench/shapes.json

# A study beside the script of Optuna, torch.nn and MLflow that its user would write instead, two pairs in turn.
bench-peer: install
	$(BIN)/python tools/bench_peer.py --pairs 2 --json studies/bench/peer.json

# Engine `gpu` without a GPU: every kernel compiled for every architecture, every cell in Triton's interpreter.
# Some five minutes on 2 cores. JSON=FILE keeps a row of every kernel.
gpu-check: install
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python tools/gpu_check.py $(if $(JSON),--json $(JSON))

# NVIDIA's compiler of kernels at run time: 90 MB that no study needs, since a machine with a GPU has it.
nvrtc: install
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps nvidia-cuda-nvrtc==13.0.88

# Engine `persistent` without a GPU: every cell's two kernels compiled by NVRTC, and run by a machine for PTX. Some
# minutes on 2 cores. JSON=FILE keeps a row of every kernel.
persistent-check: nvrtc
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python tools/persistent_check.py $(if $(JSON),--json $(JSON))

# The plan that `make gpu` trains, and its records of this CPU, into tools/gpu; both are committed.
gpu-plan: install
	PYTHONPATH=. $(BIN)/python tools/gpu_plan.py

# On a machine with a GPU, where torch, Triton, NumPy and pytest are enough: no `install`. Ten minutes; all that it
# tells is under OUT (build/gpu), as it comes. TRY="--device cpu --small" tries it without a GPU.
gpu:
	$(PYTHON) tools/gpu_run.py $(if $(OUT),--out $(OUT)) $(TRY)
