# tapline: one word for each thing people do here. Every target installs what it needs first (.ci/deps says what).
# SPDX-License-Identifier: Apache-2.0
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

JOBS ?= $(shell nproc)
CTEST = ctest --output-on-failure --no-tests=error
# Seconds that each fuzz target gets.
FUZZ_SECONDS ?= 600
DESTDIR ?=
PREFIX ?= /usr/local

# $(call build,PRESET[,CMAKE ARGUMENTS]): configure and compile build/PRESET. A configured tree is not configured again;
# ninja does that when a CMakeLists.txt has changed.
define build
	@mkdir -p build
	@if [ ! -f build/$(1)/build.ninja ]; then cmake --preset $(1) $(2) >build/$(1).log 2>&1 || { cat build/$(1).log; exit 1; }; fi
	@cmake --build build/$(1) -j $(JOBS)
endef

.PHONY: help
help: ## Say what there is
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: ## Build the program and run it over the sample logs: no server needed
	@.ci/deps build run
	$(call build,release,-DTAPLINE_TESTS=OFF)
	@.ci/demo

# With `exec`, a signal to make's child is the script's own, which stops what it started.
.PHONY: demo
demo: ## Kafka, Redis, a search engine and live sensors on this machine, with tapline between them, until Ctrl-C
	@.ci/deps build run demo
	$(call build,release,-DTAPLINE_TESTS=OFF)
	@exec .ci/demo-search

.PHONY: build
build: ## Build the program as it is installed: build/release/cmd/tapline
	@.ci/deps build
	$(call build,release,-DTAPLINE_TESTS=OFF)

.PHONY: dev
dev: ## Build everything for debugging, tests too: build/dev
	@.ci/deps build test
	$(call build,dev)

# One more at once than there are cores: the long ones mostly wait, and some have a bound of time.
.PHONY: test
test: dev ## Run every test (needs the network once, for the Kafka broker's jars)
	@$(CTEST) -j $$(($(JOBS) + 1)) --test-dir build/dev

# Of the corpus those that make each document once: the others ask other questions of the same code.
.PHONY: asan
asan: ## Unit, golden and corpus tests with address and undefined-behaviour sanitizers
	@.ci/deps build test
	$(call build,asan)
	@$(CTEST) -j $$(($(JOBS) + 1)) --test-dir build/asan -L 'unit|golden|corpus' -LE judge -E 'corpus\.(kept|same|order|observables)'

# A map is applied by one thread: threads.jobs_same and threads.run have several of them.
.PHONY: tsan
tsan: ## Unit and pipeline tests with the thread sanitizer
	@.ci/deps build test
	$(call build,tsan)
	@$(CC) -std=c17 -D_GNU_SOURCE -Wall -Wextra -O1 -g -shared -fPIC tests/tsan/c11_threads.c -o build/tsan/c11_threads.so -pthread
	@LD_PRELOAD=$(CURDIR)/build/tsan/c11_threads.so TSAN_OPTIONS='halt_on_error=1 suppressions=$(CURDIR)/tests/tsan/suppressions.txt' \
		$(CTEST) -j $$(($(JOBS) + 1)) --test-dir build/tsan -L 'unit|threads' -E 'unit\.normalize_'

.PHONY: fuzz
fuzz: ## Fuzz every parser, FUZZ_SECONDS each (600)
	@.ci/deps build test fuzz
	$(call build,fuzz)
	@TAPLINE_FUZZ_SECONDS=$(FUZZ_SECONDS) $(CTEST) -j $(JOBS) --test-dir build/fuzz -L fuzz

.PHONY: storm
storm: dev ## The long storm and outages (two hours): ten million records, 100 times kill -9, Kafka away for an hour
	@tests/integration/setup.sh
	@TAPLINE_LONG=1 TAPLINE=$(CURDIR)/build/dev/cmd/tapline .venv/bin/python -B -m pytest -v -rA -p no:cacheprovider \
		tests/fault/test_storm.py tests/fault/test_feed_storm.py tests/fault/test_supervise_storm.py \
		tests/integration/test_feed_corpus.py tests/fault/test_outage.py

.PHONY: bench
bench: build ## Measure speed and memory; rsyslog, syslog-ng and a bare producer beside it
	@.ci/deps build test bench
	@cmake --build build/release -j $(JOBS) --target intel_batch
	@.venv/bin/python tests/bench/bench.py

.PHONY: lint
lint: dev ## Formatting, clang-tidy, shellcheck, the layers between the folders
	@.ci/deps lint
	@tests/lint.sh

.PHONY: docs
docs: build ## The documentation site and the man pages: build/docs
	@.ci/deps docs
	@TAPLINE=build/release/cmd/tapline sphinx-build -q -W --keep-going -b html docs build/docs/html
	@TAPLINE=build/release/cmd/tapline sphinx-build -q -W --keep-going -b man docs build/docs/man
	@echo "open build/docs/html/index.html"

.PHONY: install
install: build ## Install below PREFIX (/usr/local); DESTDIR is put before it
	@cmake -DCMAKE_INSTALL_PREFIX=$(PREFIX) build/release >/dev/null
	@cmake --build build/release -j $(JOBS)
	@DESTDIR=$(DESTDIR) cmake --install build/release

.PHONY: clean
clean: ## Remove what was built and what `make run` wrote
	rm -rf build out docs/_build docs/_generated
