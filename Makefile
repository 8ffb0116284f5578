# Everything here sets up what it needs: a virtual environment in .venv and, where we are root on Debian, its packages.

PYTHON ?= $(firstword $(foreach p,python3 python3.12 python3.11 python3.13 python3.14,\
	$(shell $(p) -c 'import sys; print("$(p)") if sys.version_info >= (3, 11) else None' 2>/dev/null)))
BIN := .venv/bin

.PHONY: run test check clean

run: .venv/run
	$(BIN)/sipresence serve --config examples/office.toml

test: check tools
	$(BIN)/pytest

check: .venv/test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# What the tests run besides Python: SIPp plays the phones, iproute2 makes the second host.
.PHONY: tools
tools:
	@command -v sipp >/dev/null && command -v ip >/dev/null || $(MAKE) --no-print-directory debian PACKAGES="sip-tester iproute2"

.PHONY: debian
debian:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(PACKAGES) >/dev/null; \
	else echo "not installed: $(PACKAGES); the tests that need it are skipped"; fi

.venv/run: .venv/pyvenv.cfg pyproject.toml
	$(BIN)/pip install --quiet --editable '.[phone]'
	@touch $@

.venv/test: .venv/pyvenv.cfg pyproject.toml
	$(BIN)/pip install --quiet --editable '.[phone,test]'
	@touch $@ .venv/run

.venv/pyvenv.cfg:
	@test -n "$(PYTHON)" || { echo "sipresence needs Python 3.11 or later"; exit 1; }
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(MAKE) --no-print-directory debian PACKAGES=python3-venv
	$(PYTHON) -m venv .venv

clean:
	rm -rf .venv build *.egg-info
