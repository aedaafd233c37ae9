# The two commands of the README are `make demo` and `make test`; everything they need is set up on the way.
PYTHON ?= python3.11
BIN := .venv/bin
MDMT := $(BIN)/mdmt
# A worker that crashes ends the tests: with another in its place they may wait for each other for good.
IN_PARALLEL := --numprocesses 2 --dist loadfile --max-worker-restart 0
export OMP_NUM_THREADS ?= 1
# Two workers that each spin two threads cost twenty times on two cores, so threads are always set.

.PHONY: demo smoke link test test-long test-all test-platform check lock env up bench-training bench-prepare bench-grid bench-serving bench-gate bench-evidence real-cxr phantom-zones real-model real-lungs real-severity real-prognosis sample-size serve ui clean

.venv/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --progress-bar on --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# The main job, from nothing to a served prediction. Every line finds what an earlier call has already done.
demo: .venv/.installed
	$(MDMT) phantom --folder state/phantom
	$(MDMT) segmenter train --recipe demo
	$(MDMT) prepare --recipe demo
	$(MDMT) run --recipe demo
	$(MDMT) register --recipe demo
	$(MDMT) promote --reason "make demo"
	$(MDMT) serve --answer state/phantom/held-out/held_out_1.png --answer state/phantom/held-out/held_out_2.dcm
	@echo
	@echo "MLflow UI:  make ui      then open http://127.0.0.1:5000"
	@echo "Service:    make serve   then open http://127.0.0.1:8000/docs"
	@echo "Ask it:     curl -F file=@state/phantom/held-out/held_out_1.png http://127.0.0.1:8000/predict"

# The same job on real films (README, "Real chest X-rays").
real-cxr: .venv/.installed
	$(MDMT) run --recipe real-cxr

# Weights that networks of real films start from: the six zones of phantoms.
phantom-zones: .venv/.installed
	$(MDMT) phantom --folder state/zones-phantom --prognosis 9 --severity 1200
	$(MDMT) run --recipe phantom-zones
	$(MDMT) starts unit phantom-zones --recipe phantom-zones --experiment zones

# A network of real films, registered and promoted. To serve it: mdmt serve --name mdmt-public
real-model: phantom-zones
	for recipe in real+box real+close real; do \
		$(MDMT) run --recipe $$recipe || exit 1; done
	$(MDMT) register --recipe real
	$(MDMT) promote --name mdmt-public --reason "make real-model"
	$(MDMT) report --recipe real --page docs/evidence.md

# Evidence on real films (docs/evidence.md): each recipe with its variants, then its part of the page. Called again it goes on, or finds all.
real-lungs: .venv/.installed
	$(MDMT) run --recipe real-lungs
	$(MDMT) segmenter train --recipe real-lungs --preset real-lungs
	$(MDMT) report --recipe real-lungs --page docs/evidence.md

real-severity: phantom-zones
	$(MDMT) phantom --folder state/severity-phantom --prognosis 9 --severity 600
	$(MDMT) run --recipe phantom-severity
	$(MDMT) starts unit phantoms --recipe phantom-severity --experiment stl-severity
	$(MDMT) starts sibling lite0 --giver efficientnet_lite0 --taker efficientnet_b0
	$(MDMT) starts films contrast --recipe real-prognosis --without real-severity --size 160
	for variant in "" +masked +scratch +together +224px +256px +320px +contrast +phantoms +together-phantoms +together-zones +close +close-zones +close-more +b0; do \
		$(MDMT) run --recipe real-severity$$variant || exit 1; done
	$(MDMT) report --recipe real-severity --page docs/evidence.md

real-prognosis: .venv/.installed
	for recipe in real-prognosis real-prognosis+zones real-prognosis+honest real-prognosis+masked real-prognosis+shuffled; do \
		$(MDMT) run --recipe $$recipe || exit 1; done
	$(MDMT) register --recipe real-prognosis
	$(MDMT) report --recipe real-prognosis --page docs/evidence.md

# From how many films on does a single task do as well? Phantoms, for docs/evidence.md.
sample-size: .venv/.installed
	$(MDMT) phantom --folder state/sample-size-phantom --prognosis 480 --severity 480
	$(MDMT) run --recipe sample-size
	$(MDMT) report --recipe sample-size --page docs/evidence.md

# The full breadth of the paper on a handful of phantoms: 18 backbones, five experiments, CV and LOCO, three releases.
smoke: .venv/.installed
	$(MDMT) phantom --folder state/smoke-phantom --prognosis 64 --severity 30 --films-per-subject 1 --pairs 24 --seed 55
	$(MDMT) run --recipe smoke
	$(MDMT) report --recipe smoke

# Does MDMT help because severity decides the outcome? The same study with that link and without it.
link: .venv/.installed
	$(MDMT) phantom --folder state/link-phantom --prognosis 100 --severity 480 --loading 0.95 --link 6
	$(MDMT) phantom --folder state/link-cut-phantom --prognosis 100 --severity 480 --loading 0.95 --link 0
	$(MDMT) run --recipe link
	$(MDMT) report --recipe link
	$(MDMT) run --recipe link-cut
	$(MDMT) report --recipe link-cut

serve: .venv/.installed
	$(MDMT) serve

ui: .venv/.installed
	$(MDMT) ui

test: .venv/.installed
	$(BIN)/python -m pytest $(IN_PARALLEL)

# What CI runs besides: the tests of whole studies, kills, every backbone's export.
test-long: .venv/.installed
	$(BIN)/python -m pytest $(IN_PARALLEL) -m "long and not slow"

test-all: .venv/.installed
	$(BIN)/python -m pytest $(IN_PARALLEL) -m ""

# What CI asks before the tests: style, types, import directions.
check: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The whole system in containers (docs/operations.md). `env` writes settings and passwords once and never over what is there.
env:
	@python3 -m services.commands.env

up: env
	MDMT_COMMIT=$$(git rev-parse HEAD) docker compose up --build --wait

# The same, tested: builds, starts, breaks and restores a stack of its own; needs Docker, and says so where there is none.
test-platform: .venv/.installed
	$(BIN)/python -m pytest tests/platform -m "" -rs --timeout 3600

# Side-by-side measurements, each in one run; every one writes its page benchmarks/*.md.
bench-training bench-prepare bench-grid bench-serving bench-gate bench-evidence: .venv/.installed
	$(BIN)/python -m benchmarks.$(@:bench-%=%).run

# Resolve requirements.in into the lock and the images' shares of it; versions stay where requirements.in allows them.
# `make lock LOCK=--upgrade` takes the newest.
lock: .venv/.installed
	$(BIN)/python docker/lock.py $(LOCK)

clean:
	rm -rf state
