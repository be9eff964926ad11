# Each target does its own set-up: a fresh clone and Python 3.11 or newer are all it takes.
PYTHON ?= python3
SHELL := bash
.SHELLFLAGS := -o pipefail -c
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test check compat verified bench bench-alone bench-codec bench-storage fuzz fuzz-codec hostile crash exactly-once steps matrix history proofs docs clean

run: $(VENV)/run.stamp  ## starts a broker on 127.0.0.1:9092; ARGS="--port 9093 …" for options
	@exec $(BIN)/pykbroker start $(ARGS)

test: $(VENV)/dev.stamp $(VENV)/zookeeper.stamp  ## all tests; ARGS="tests/network -k frames" for some
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/dev.stamp  ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

compat: $(VENV)/dev.stamp  ## the table of behaviours with every client that can be installed; writes docs/compatibility.md
	$(BIN)/python tests/compat/matrix.py --write docs/compatibility.md $(ARGS)

verified: $(VENV)/dev.stamp $(VENV)/zookeeper.stamp  ## beside Apache Kafka 4.3 and 3.9 from Maven: raw conversations and the table; ARGS="4.3.0 --client java_4"
	$(BIN)/python -m tests.verified $(ARGS)

bench: $(VENV)/dev.stamp $(VENV)/zookeeper.stamp  ## beside Apache Kafka (docs/benchmarks.{md,svg}), and a cluster; half an hour; ARGS=--quick
	$(BIN)/python -m benchmarks.beside_kafka $(ARGS)
	$(if $(filter --only --report,$(ARGS)),,$(BIN)/python -m benchmarks.cluster $(filter --quick,$(ARGS)))

bench-alone: $(VENV)/dev.stamp $(VENV)/zookeeper.stamp  ## beside librdkafka's mock cluster; the log, a cluster, groups; ARGS=--quick
	$(BIN)/python -m benchmarks $(ARGS)
	$(BIN)/python -m benchmarks.storage $(filter --quick,$(ARGS))
	$(BIN)/python -m benchmarks.cluster $(filter --quick,$(ARGS))
	$(BIN)/python -m benchmarks.groups $(filter --quick,$(ARGS))

bench-codec: $(VENV)/dev.stamp  ## parsing and building of hot messages, beside kio and kafka-python
	$(BIN)/python -m benchmarks.codec $(ARGS)

bench-storage: $(VENV)/dev.stamp  ## the log alone: plain writes, recovery, compaction, 10,000 partitions; ARGS=--quick
	$(BIN)/python -m benchmarks.storage $(ARGS)

crash: $(VENV)/dev.stamp  ## kill -9 in a row under load; ARGS="--rounds 1000 --damage" for more, and spoilt tails
	$(BIN)/python -m tests.crash $(ARGS)

history: $(VENV)/dev.stamp $(VENV)/zookeeper.stamp  ## what clients were told while everything fails; ARGS="--minutes 30"
	$(BIN)/python -m tests.history $(ARGS)

matrix: $(VENV)/dev.stamp $(VENV)/zookeeper.stamp  ## what can go wrong in a cluster, on real processes and a real ZooKeeper
	PYKBROKER_MATRIX=1 $(BIN)/python -m pytest $(MATRIX) $(ARGS)
MATRIX := $(addprefix tests/scenarios/test_, real_cluster.py cut_off.py rolling_restart.py compose.py) tests/verified/test_takeover.py

exactly-once: $(VENV)/dev.stamp  ## transactions while brokers and clients are killed -9; ARGS="--brokers 3 --records 6000 --kills 3"
	$(BIN)/python -m tests.exactly_once $(ARGS)

STEPS ?= 100000
steps: $(VENV)/dev.stamp  ## the log against a list, at random; STEPS=1000000 for more
	PYKBROKER_STEPS=$(STEPS) $(BIN)/python -m pytest tests/storage/test_log_against_a_list.py -k AtLength $(ARGS)

fuzz: $(VENV)/dev.stamp  ## random and mutated frames against running brokers; ARGS="--frames 1000000" for more
	$(BIN)/python -m tests.fuzz $(ARGS)

hostile: $(VENV)/dev.stamp  ## 5,000 half-open connections, promised gigabytes, readers that never read: memory and p99 of others
	$(BIN)/python -m tests.hostile $(ARGS)

fuzz-codec: $(VENV)/dev.stamp  ## 1,000,000 mutated frames over every message's decode; ARGS="--frames 50000 --seed 7"
	$(BIN)/python -m tests.fuzz.codec $(ARGS)

proofs: $(VENV)/dev.stamp  ## the long proofs, each in the short form that CI runs; one line a proof
	@for proof in $(PROOFS); do $(MAKE) --silent proof-$$proof || exit 1; done

PROOFS := fuzz hostile matrix clients verified crash crash-damage fuzz-codec exactly-once exactly-once-cluster partition history storms
# Runs a proof: its last lines where it holds, many more where it doesn't.
prove = @show() { log=$$(mktemp); "$$@" >$$log 2>&1; code=$$?; \
	tail -n $$([ $$code = 0 ] && echo $(1) || echo 200) $$log; rm -f $$log; return $$code; }; show
proof-fuzz:
	$(call prove,4) $(BIN)/python -m tests.fuzz --seconds 45 --seed 6
proof-hostile:
	$(call prove,4) $(BIN)/python -m tests.hostile
proof-clients:
	$(call prove,1) $(BIN)/python -m pytest tests/compat/test_clients.py tests/compat/test_secure.py --clients others
proof-verified:
	$(call prove,1) $(BIN)/python -m tests.verified --short
proof-matrix:
	$(call prove,1) env PYKBROKER_MATRIX=1 $(BIN)/python -m pytest $(MATRIX) -k "restarts or stands or last or alone or compose"
proof-crash:
	$(call prove,1) $(BIN)/python -m tests.crash --rounds 25 --seed 1
proof-crash-damage:
	$(call prove,1) $(BIN)/python -m tests.crash --rounds 25 --seed 2 --damage
proof-exactly-once:
	$(call prove,1) $(BIN)/python -m tests.exactly_once --records 6000 --kills 3 --seed 4
proof-exactly-once-cluster: $(VENV)/zookeeper.stamp
	$(call prove,1) $(BIN)/python -m tests.exactly_once --brokers 3 --records 4000 --kills 2 --seed 4
proof-partition:
	$(call prove,1) env PYKBROKER_WALKS=5000 $(BIN)/python -m pytest tests/cluster/test_partition_properties.py -k random
proof-history:
	$(call prove,1) $(BIN)/python -m tests.history --minutes 0.6 --seed 5
proof-fuzz-codec:
	$(call prove,1) $(BIN)/python -m tests.fuzz.codec --frames 750000 --seed 3
proof-storms:
	$(call prove,1) $(BIN)/python -m tests.storms --gusts 3

docs: $(VENV)/dev.stamp  ## the pages that are made from declarations: docs/{apis,states,cli,differences}.md
	$(BIN)/python -m docs.generate $(ARGS)

# A ZooKeeper for the tests of clusters, where this may install one; they are skipped with the reason elsewhere.
$(VENV)/zookeeper.stamp: | $(VENV)/bin/python
	@if [ ! -e /usr/share/zookeeper/bin/zkServer.sh ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends zookeeper; \
	fi >/dev/null 2>&1 || echo "ZooKeeper could not be installed: its tests are skipped"
	@touch $@

clean:
	rm -rf $(VENV) .compat build .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "pykbroker needs Python 3.11 or newer: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: pyproject.toml $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/dev.stamp: pyproject.toml $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,compat]'
	@touch $@ $(VENV)/run.stamp
