# Everything here sets up what it needs: a virtual environment in .venv and, where we are root on Debian, its packages.

PYTHON ?= $(firstword $(foreach p,python3 python3.12 python3.11 python3.13 python3.14,\
	$(shell $(p) -c 'import sys; print("$(p)") if sys.version_info >= (3, 11) else None' 2>/dev/null)))
BIN := .venv/bin

.PHONY: run test check soak fuzz bench wheel test-compiled clean

run: .venv/run
	$(BIN)/sipresence serve --config examples/office.toml

# Two files at a time: most of the end-to-end tests wait for timers of SIP.
test: check tools node_modules
	$(BIN)/pytest --numprocesses 2 --dist loadfile
	@if command -v cc >/dev/null; then $(MAKE) --no-print-directory test-compiled; \
	else echo "not installed: gcc; the compiled build is not tested"; test -z "$$SIPRESENCE_REQUIRE_TOOLS"; fi

check: .venv/test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# For so long: 2,000 phones on TCP that break their connections and come back, and then a server that is killed again and
# again; in the end a restart with 100,000 subscriptions. `make test` has short ones.
SECONDS ?= 180
SOAKS := tests/e2e/test_soak.py tests/e2e/test_crash_harness.py tests/e2e/test_restart.py tests/e2e/test_large_list.py
soak: .venv/test
	SIPRESENCE_SOAK_SECONDS=$(SECONDS) $(BIN)/pytest -s $(SOAKS)

# Inputs guided by coverage against the datagram path, the stream framer and published bodies, for SECONDS in all; what
# breaks one stays.
FUZZERS := datagram stream body
fuzz: .venv/test
	for target in $(FUZZERS); do $(BIN)/python -m fuzz $$target -max_total_time=$$(($(SECONDS) / $(words $(FUZZERS)))) || exit 1; done

# Make a wheel with the pip of $(1), in the folder $(2).
define compile
rm -rf $(2)
source=$$(mktemp -d) && trap "rm -rf $$source" EXIT && cp -R pyproject.toml README.md sipresence $$source && \
	HATCH_BUILD_HOOK_ENABLE_MYPYC=1 $(1)/pip wheel --quiet --no-deps --wheel-dir $(2) $$source
endef

# Every workload on both builds and on Kamailio, in turn, for about three quarters of an hour; the table at the end goes
# into benchmarks/RESULTS.md. Measured with the Python of the distribution where there is one: those that are built as a
# shared library (--enable-shared, as pyenv's may be) cost a fifth to a quarter more.
BENCH_PYTHON ?= $(firstword $(foreach p,/usr/bin/python3 $(PYTHON),\
	$(shell $(p) -c 'import sys; print("$(p)") if sys.version_info >= (3, 11) else None' 2>/dev/null)))
BENCH := .venv-bench
BENCH_TOOLS := python3-venv:/usr/lib/python3*/ensurepip python3-dev:/usr/include/python3*/Python.h gcc:cc \
	kamailio:kamailio kamailio-presence-modules:/usr/lib/*/kamailio/modules/presence.so \
	kamailio-sqlite-modules:/usr/lib/*/kamailio/modules/db_sqlite.so
bench: benchmarks/build/load
	@missing=$$(for tool in $(BENCH_TOOLS); do command -v $${tool#*:} >/dev/null || test -e $${tool#*:} || echo $${tool%%:*}; done); \
	test -z "$$missing" || $(MAKE) --no-print-directory debian PACKAGES="$$(echo $$missing)"
	$(MAKE) --no-print-directory $(BENCH)/.ready
	$(BENCH)/bin/python -m benchmarks --write

$(BENCH)/.ready: pyproject.toml $(shell find sipresence -name '*.py' -o -name '*.sql' -o -name '*.toml')
	$(BENCH_PYTHON) -m venv --clear $(BENCH)
	$(BENCH)/bin/pip install --quiet --editable '.[bench]'
	$(call compile,$(BENCH)/bin,$(BENCH)/wheels)
	$(BENCH_PYTHON) -m venv --clear $(BENCH)-compiled
	$(BENCH)-compiled/bin/pip install --quiet $(BENCH)/wheels/*.whl
	@touch $@

benchmarks/build/load: $(wildcard benchmarks/load/*.[ch])
	$(MAKE) --no-print-directory -C benchmarks/load

# The faster build, for this machine and this Python (docs/adr/0004). It is made in a folder of its own: a compiled
# module that stayed beside its source would hide it.
wheel: dist/.compiled

dist/.compiled: .venv/pyvenv.cfg pyproject.toml $(shell find sipresence -name "*.py" -o -name "*.sql" -o -name "*.toml") | compiler
	$(call compile,$(BIN),dist)
	@touch $@

# The tests again, over that wheel, in a folder that has all but our sources, so that what they import is what is
# installed; tests/test_compiled.py makes sure. Of those end to end, a crash and the flows that SIPp plays are enough.
HOUSE := .venv-compiled/house
FURNITURE := contrib docs examples fuzz pyproject.toml sipp-scenarios tests
OVER_BOTH := tests/sip tests/events tests/properties tests/contract tests/net tests/http tests/test_*.py \
	tests/e2e/test_crash.py tests/e2e/test_sipp.py --deselect tests/test_docs.py
test-compiled: .venv-compiled/test tools
	cd $(HOUSE) && SIPRESENCE_COMPILED=1 ../bin/pytest --numprocesses 2 --dist loadfile $(OVER_BOTH)

.venv-compiled/test: dist/.compiled
	$(BIN)/python -m venv --clear .venv-compiled
	.venv-compiled/bin/pip install --quiet "$$(echo dist/*.whl)[phone,test]"
	mkdir $(HOUSE) && ln -s $(FURNITURE:%=../../%) $(HOUSE)
	@touch $@

# What the tests run besides Python: SIPp plays the phones, iproute2 makes the second host, Kamailio is the proxy before
# us and the one that publishes calls, faketime steps our clock, openssl makes certificates, node runs a browser's phone,
# promtool checks metrics, gcc compiles the faster build. The services that Debian makes of Kamailio and Prometheus are
# not wanted: they would take ports 5060 and 9090.
COMPILER := gcc:cc python3-dev:python3-config
TOOLS := openssl:openssl nodejs:node npm:npm sip-tester:sipp iproute2:ip kamailio:kamailio faketime:faketime \
	kamailio-presence-modules:/usr/lib/*/kamailio/modules/pua_dialoginfo.so e2fsprogs:mkfs.ext4 \
	prometheus:promtool baresip-core:baresip linphone-cli:linphonec $(COMPILER)
.PHONY: tools compiler
tools: WANTED := $(TOOLS)
compiler: WANTED := $(COMPILER)
tools compiler:
	@missing=$$(for tool in $(WANTED); do \
		command -v $${tool#*:} >/dev/null || test -e $${tool#*:} || echo $${tool%%:*}; done); \
	test -z "$$missing" || $(MAKE) --no-print-directory debian PACKAGES="$$(echo $$missing)" || exit 1; \
	case "$$missing" in *kamailio*) systemctl --quiet disable --now kamailio 2>/dev/null || true;; esac; \
	case "$$missing" in *prometheus*) \
		systemctl --quiet disable --now prometheus prometheus-node-exporter 2>/dev/null || true;; esac

.PHONY: node_modules
node_modules: tests/e2e/ws/node_modules/.package-lock.json

tests/e2e/ws/node_modules/.package-lock.json: tests/e2e/ws/package-lock.json | tools
	@if command -v npm >/dev/null; then cd tests/e2e/ws && npm ci --silent --no-audit --no-fund && touch node_modules/.package-lock.json; \
	else echo "not installed: npm; the tests that need it are skipped"; fi

.PHONY: debian
debian:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(PACKAGES) >/dev/null; \
	else echo "not installed: $(PACKAGES); the tests that need it are skipped"; fi

.venv/run: .venv/pyvenv.cfg pyproject.toml
	$(BIN)/pip install --quiet --editable '.[phone]'
	@touch $@

.venv/test: .venv/pyvenv.cfg pyproject.toml
	$(BIN)/pip install --quiet --editable '.[phone,test,fuzz]'
	@touch $@ .venv/run

.venv/pyvenv.cfg:
	@test -n "$(PYTHON)" || { echo "sipresence needs Python 3.11 or later"; exit 1; }
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(MAKE) --no-print-directory debian PACKAGES=python3-venv
	$(PYTHON) -m venv .venv

clean:
	rm -rf .venv .venv-compiled $(BENCH) $(BENCH)-compiled build benchmarks/build dist *.egg-info
