# Two commands do everything: `make run` (the console on live data) and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# What the tests need beside Python: a registry, small and real root file systems, a terminal, and
# the tools that archives are exchanged with.
PACKAGES = binutils busybox-static debootstrap docker-registry e2fsprogs fonts-dejavu-core \
	fonts-jetbrains-mono fuse-overlayfs iproute2 nftables openssl procps \
	python3-venv strace tmux buildah podman skopeo umoci
# containerd and dockerd, which would start as services, are measured where somebody installed them.
PEERS = crun runc netavark
APT = DEBIAN_FRONTEND=noninteractive apt-get -q -y

.PHONY: run test test-long check format bench screenshots clean lock packages

run: $(VENV)/.run
	$(BIN)/pydock-tui --demo

test: packages check
	$(BIN)/python -m tests.support.debian
	$(BIN)/python -m pytest -m "not long"

test-long: packages check
	$(BIN)/python -m tests.support.debian
	$(BIN)/python -m pytest

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: packages $(VENV)/.dev
	@dpkg -s $(PEERS) >/dev/null 2>&1 || { apt-get -q update && $(APT) install --no-install-recommends $(PEERS); }
	$(BIN)/python -m tests.support.debian
	$(BIN)/python -m tests.bench.layouts
	$(BIN)/python -m tests.bench

screenshots: packages $(VENV)/.dev
	$(BIN)/python -m tests.support.screenshots

clean:
	-test -x $(BIN)/pydock && $(BIN)/pydock demo down
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

lock: $(VENV)/.dev
	$(BIN)/pip-compile -q --generate-hashes --no-emit-index-url --no-emit-find-links --strip-extras \
		--allow-unsafe --build-deps-for editable -o requirements.lock pyproject.toml
	$(BIN)/pip-compile -q --generate-hashes --no-emit-index-url --no-emit-find-links --strip-extras \
		--allow-unsafe --build-deps-for editable --extra dev -o requirements-dev.lock pyproject.toml

# Only what is missing is installed, so a machine that has everything needs no network.
packages:
	@dpkg -s $(PACKAGES) >/dev/null 2>&1 || { apt-get -q update && $(APT) install --no-install-recommends $(PACKAGES); }

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --no-build-isolation --no-deps -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install -q --no-build-isolation --no-deps -e .
	@touch $@ $(VENV)/.run
