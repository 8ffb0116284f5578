# Everything here sets up what it needs: a virtual environment in .venv and, where we are root on Debian, its packages.

PYTHON ?= $(firstword $(foreach p,python3 python3.12 python3.11 python3.13 python3.14,\
	$(shell $(p) -c 'import sys; print("$(p)") if sys.version_info >= (3, 11) else None' 2>/dev/null)))
BIN := .venv/bin

.PHONY: run test check soak fuzz clean

run: .venv/run
	$(BIN)/sipresence serve --config examples/office.toml

# Two files at a time: most of the end-to-end tests wait for timers of SIP.
test: check tools node_modules
	$(BIN)/pytest --numprocesses 2 --dist loadfile

check: .venv/test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# For so long: 2,000 phones on TCP that break their connections and come back, and then a server that is killed again and
# again; in the end a restart with 100,000 subscriptions. `make test` has short ones.
SECONDS ?= 180
SOAKS := tests/e2e/test_soak.py tests/e2e/test_crash_harness.py tests/e2e/test_restart.py
soak: .venv/test
	SIPRESENCE_SOAK_SECONDS=$(SECONDS) $(BIN)/pytest -s $(SOAKS)

# Inputs guided by coverage against the datagram path and the stream framer, for SECONDS in all; what breaks one stays.
FUZZERS := datagram stream
fuzz: .venv/test
	for target in $(FUZZERS); do $(BIN)/python -m fuzz $$target -max_total_time=$$(($(SECONDS) / $(words $(FUZZERS)))) || exit 1; done

# What the tests run besides Python: SIPp plays the phones, iproute2 makes the second host, Kamailio is the proxy before
# us, faketime steps our clock, openssl makes certificates, node runs a browser's phone, promtool checks metrics. The
# services that Debian makes of Kamailio and Prometheus are not wanted: they would take ports 5060 and 9090.
TOOLS := openssl:openssl nodejs:node npm:npm sip-tester:sipp iproute2:ip kamailio:kamailio faketime:faketime \
	e2fsprogs:mkfs.ext4 prometheus:promtool
.PHONY: tools
tools:
	@missing=$$(for tool in $(TOOLS); do command -v $${tool#*:} >/dev/null || echo $${tool%:*}; done); \
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
	rm -rf .venv build *.egg-info
