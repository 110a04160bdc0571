# Every target runs in .venv, which is created and updated automatically.

VENV := .venv
BIN := $(VENV)/bin
SYNCED := $(VENV)/.synced
PYTHON ?= python3
PORT ?= 3000
VERSION ?= $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' streetseg/__init__.py)

export PATH := $(CURDIR)/$(BIN):$(PATH)
export BENTOML_DO_NOT_TRACK := True
export MLFLOW_DISABLE_TELEMETRY := true
# The wheels of torch are large: allow for a slow connection.
export UV_HTTP_TIMEOUT ?= 300

.DEFAULT_GOAL := help
.PHONY: help setup demo test slow containers images lint format bench lock serve ui clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(SYNCED) ## Make .venv with the locked packages

$(SYNCED): requirements.lock pyproject.toml
	@test -x $(BIN)/uv || { $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")' && { $(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make environments: apt install python3-venv" >&2; exit 1; }; } && $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.8"; }
	@echo "Installing the locked packages into $(VENV) (about 7 GB, once)"
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip sync --quiet --require-hashes --compile-bytecode requirements.lock
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --editable .
	@touch $@

demo: $(SYNCED) ## The complete workflow: DATA=/path/to/cityscapes SOURCE=my/source.yaml SET="a.b=c d.e=f"; LOOP=1: the loop
	@$(BIN)/python -m scripts.$(if $(LOOP),demo_loop,demo) $(if $(DATA),--data "$(DATA)") $(if $(SOURCE),--source "$(SOURCE)") $(foreach s,$(SET),--set "$(s)")

test: $(SYNCED) ## Lint, types and tests
	@$(MAKE) --no-print-directory lint
	@$(BIN)/python -m pytest

slow: $(SYNCED) ## The long tests: the demo, every recipe, S3, the page in a browser, killed processes
	@$(BIN)/python -m pytest -m slow

containers: $(SYNCED) images ## The tests that need Docker: the images, the pipeline in containers
	@STREETSEG_REQUIRE_DOCKER=1 $(BIN)/python -m pytest -n 0 tests/integration/test_containers.py

images: ## streetseg-train, -serve and -mlflow: BASE_IMAGE=... ACCELERATOR=cpu VERSION=...
	@scripts/room_for_images.sh $(VERSION) $(ACCELERATOR)
	@for image in serve mlflow train; do \
	  docker build --file components/Dockerfile --target $$image --tag streetseg-$$image:$(VERSION) \
	    $(if $(BASE_IMAGE),--build-arg BASE_IMAGE="$(BASE_IMAGE)") \
	    $(if $(ACCELERATOR),--build-arg ACCELERATOR="$(ACCELERATOR)") \
	    --build-arg VERSION="$(VERSION)" \
	    --build-arg GIT_REVISION=$$(git describe --always --abbrev=40 --dirty --exclude '*') . \
	  || exit 1; \
	done
	@docker image inspect --format '{{index .RepoTags 0}}  {{.Id}}  {{.Size}} bytes' \
	  $(foreach image,serve mlflow train,streetseg-$(image):$(VERSION))

lint: $(SYNCED) ## ruff, mypy and import-linter
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary
	@report=$$($(BIN)/lint-imports --no-cache --no-logo) || { echo "$$report"; exit 1; }

format: $(SYNCED) ## Let ruff fix what it can
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

bench: $(SYNCED) ## Measure every claim and refresh benchmarks/RESULTS.md
	@$(BIN)/python benchmarks/run.py

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-annotate --no-header pyproject.toml

lock: ## Resolve pyproject.toml into requirements.lock, and the lock file of each image
	@$(COMPILE) --all-extras -o requirements.lock
	@$(COMPILE) --extra train --extra pipeline --extra s3 --extra postgres -c requirements.lock -o components/train.lock
	@$(COMPILE) --extra serve -c requirements.lock -o components/serve.lock
	@$(COMPILE:pyproject.toml=components/mlflow.in) -c requirements.lock -o components/mlflow.lock
	@$(COMPILE:pyproject.toml=components/installer.in) -o components/installer.lock

serve: $(SYNCED) ## The champion over HTTP on 127.0.0.1: PORT=3000
	@$(BIN)/bentoml serve service:StreetSegmenter --host 127.0.0.1 --port $(PORT)

ui: $(SYNCED) ## Runs and models in MLflow on 127.0.0.1: PORT=5000
	@$(BIN)/python -m scripts.ui --port $(if $(filter file,$(origin PORT)),5000,$(PORT))

clean: ## Remove outputs/, keep .venv and data/
	@rm -rf outputs .mypy_cache .ruff_cache .pytest_cache
