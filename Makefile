# The commands of this project; `make` alone lists them.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:

INVENTORY ?= inventory
ANSIBLE_FLAGS ?=
SCENARIO ?=
ACTION ?= test
BENCH_FLAGS ?=
# The tests with real processes wait most of the time, so more of them run than there are processors.
TEST_PROCESSES ?= 4
RESULTS := .cache/test-results

# Ansible needs a UTF-8 locale that this machine has; an SSH session brings that of the client. It also ignores an ansible.cfg in a
# folder that other accounts may write to, unless ANSIBLE_CONFIG names it.
export LC_ALL := $(shell locale -a 2>/dev/null | grep -qix 'C\.utf-*8' && echo C.UTF-8 || echo en_US.UTF-8)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.collections
export PATH := $(CURDIR)/.venv/bin:$(PATH)

# The environment is made again if a lock or this machine's Python changes, but not if only the date of a file does.
key = $(shell { python3 -V; cat scripts/environment.sh requirements/bootstrap.txt $(1); } 2>&1 | cksum | tr ' ' -)
SITE_READY := .venv/.made-site-$(call key,requirements/site.txt)
TEST_READY := .venv/.made-test-$(call key,requirements/test.txt requirements/sslyze.txt)
DOCS_READY := .venv/.made-docs-$(call key,requirements/docs.txt requirements/mermaid.lock)
SANITY_READY := .venv/.made-sanity-$(call key,requirements/test.txt requirements/importer.txt)

# For the type checker. Host code must run on Python 3.9: mypy no longer knows that, so vermin looks for what 3.9 lacks.
PLUGINS := ansible_collections.pyweb.stack.plugins

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: site
site: $(SITE_READY) ## deploy to the hosts of INVENTORY (default: this machine); ANSIBLE_FLAGS=--ask-become-pass if sudo asks for a password
	@ANSIBLE_HOST_PATTERN_MISMATCH=error ansible-playbook site.yml -i $(INVENTORY) $(ANSIBLE_FLAGS)

.PHONY: test
test: $(TEST_READY) ## run lint, unit, build and molecule, and print the time of each
	@python scripts/test.py

.PHONY: test-all
test-all: $(TEST_READY) ## run the same with the full matrix of deployments and kills, and sanity
	@PYWEB_MATRIX=all python scripts/test.py

.PHONY: lint
lint: $(TEST_READY) ## run yamllint, ruff, the language rules, ansible-lint, mypy and vermin, and check the changelog
	@failed=; for command in 'yamllint --strict .' 'ruff check --output-format concise .' 'ruff format --check --quiet .' \
		'python scripts/language.py' 'python scripts/chinese.py' 'python scripts/translations.py --check' 'ansible-lint -q' \
		'mypy --no-error-summary -p $(PLUGINS)' \
		'mypy --no-error-summary --python-version 3.10 -p $(PLUGINS).modules -p $(PLUGINS).module_utils' \
		'mypy --no-error-summary scripts tests/bench tests/load' \
		'vermin --quiet --no-tips --violations --target=3.9- plugins/modules plugins/module_utils' \
		'python scripts/changelog.py --check'; do \
		$$command || { failed=1; echo "lint: $$command failed" >&2; }; \
	done; [ -z "$$failed" ]

.PHONY: unit
unit: $(TEST_READY) ## run the pure tests, then the tests with real processes on this machine
	@failed=; \
	pytest tests/unit --numprocesses=2 --dist=worksteal --junitxml=$(RESULTS)/unit.xml || failed=1; \
	pytest tests/local -m 'not alone' --numprocesses=$(TEST_PROCESSES) --dist=worksteal --junitxml=$(RESULTS)/local.xml || failed=1; \
	pytest tests/local -m alone --junitxml=$(RESULTS)/alone.xml || failed=1; \
	[ -z "$$failed" ]

# sysmon is the cheapest way to measure. Python 3.11 does not have it: the same tests need half as much time again.
.PHONY: coverage
coverage: $(TEST_READY) ## run the unit tests one after the other, and fail if they cover too little of plugins/
	@COVERAGE_CORE=$$(python -c 'import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")') coverage run -m pytest
	@coverage report

.PHONY: build
build: $(TEST_READY) ## build the collection, install it into an empty folder, and use it from there
	@python scripts/build.py

.PHONY: sanity
sanity: $(SANITY_READY) ## run ansible-test sanity and galaxy-importer on the built collection
	@python scripts/sanity.py

.PHONY: molecule
molecule: $(TEST_READY) ## run all scenarios on test hosts; options: SCENARIO=site, ACTION=converge, KEEP=1 to keep the hosts after a failure
	@python scripts/scenarios.py --action $(ACTION) $(if $(KEEP),--keep) $(SCENARIO)

.PHONY: shards
shards: $(TEST_READY) ## list the shards of the full matrix; PYWEB_MATRIX=3/24 adds one of them to a run
	@python scripts/scenarios.py --shards $(SCENARIO)

.PHONY: bench
bench: $(TEST_READY) ## measure against a plain shell script, on fresh hosts
	@python tests/bench/run.py $(BENCH_FLAGS)

.PHONY: docs
docs: $(DOCS_READY) ## build the documents as a site with search, in .cache/docs/site
	@python scripts/docs_site.py

.PHONY: changelog
changelog: $(TEST_READY) ## write CHANGELOG.md from changelogs/fragments
	@python scripts/changelog.py

.PHONY: lock
lock: $(TEST_READY) ## update requirements/*.txt to the newest releases that the .in files allow
	@for name in bootstrap site test sslyze importer docs; do \
		UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 uv pip compile --quiet --upgrade --universal --python-version 3.11 \
			--fork-strategy requires-python --generate-hashes --no-emit-index-url --no-emit-find-links \
			--custom-compile-command 'make lock' requirements/$$name.in --output-file requirements/$$name.txt || exit 1; \
	done
	@echo 'Then, in the new environment: python scripts/gunicorn_settings.py; python scripts/uwsgi_options.py; python scripts/granian_settings.py; make lock-servers'

.PHONY: lock-servers
lock-servers: $(TEST_READY) ## update the versions and hashes of uv and the app servers that the collection installs; ten minutes
	@python scripts/server_locks.py

.PHONY: clean
clean: ## remove test hosts and .venv; CLEAN_IMAGES=1 also removes the images of the test hosts
	@python3 scripts/test_hosts.py clean $(if $(CLEAN_IMAGES),--images)
	@rm -rf .venv .cache .ansible .pytest_cache .ruff_cache *.tar.gz

# The test requirements contain those of the site, so `make site` works with either environment.
.venv/.made-site-%:
	@scripts/environment.sh site
	@touch $@

.venv/.made-test-%:
	@scripts/environment.sh test
	@touch $@ $(SITE_READY)

.venv/.made-sanity-%: $(TEST_READY)
	@scripts/environment.sh sanity
	@touch $@

.venv/.made-docs-%: $(SITE_READY)
	@scripts/environment.sh docs
	@touch $@
