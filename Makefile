# Needs make and Python 3.11 or later; everything else is set up in .venv by the first command that needs it.

# The tests start hundreds of programs: each would be compiled anew where nothing may be kept.
pytest = env -u PYTHONDONTWRITEBYTECODE .venv/bin/pytest

.PHONY: help run test bench bench-quick support-matrix settings-page check format test-all soak lock clean run-env dev-env

help:  ## list these commands
	@echo 'usage: make COMMAND [ARGS="..."] [PYTHON=python3.12]'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: run-env  ## start `mintmark dev`; ARGS are its flags
	@.venv/bin/mintmark dev $(ARGS)

test: dev-env  ## run the tests; ARGS are pytest's
	$(pytest) --numprocesses auto --dist loadfile $(ARGS)

check: dev-env  ## check format, lint, types and the import contracts
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

format: dev-env  ## format, and fix what the linter can fix by itself
	.venv/bin/ruff check --fix-only
	.venv/bin/ruff format

bench: dev-env  ## measure beside other servers and write docs/benchmarks.md (needs wrk); ARGS are its flags
	.venv/bin/python -m bench.run --write $(ARGS)

bench-quick: dev-env  ## the same in three minutes with four servers, and write nothing
	.venv/bin/python -m bench.run --quick $(ARGS)

support-matrix: dev-env  ## write docs/reference/support-matrix.md anew, from the tests of the SDKs
	$(pytest) --numprocesses auto --dist loadfile tests/compat --write-support-matrix

settings-page: dev-env  ## write the tables of docs/reference/settings.md anew, from the code
	PYTHONPATH=tests .venv/bin/python -m meta.settings_page

test-all: check test  ## check, test, the long races, a real browser, a full disk and nginx: what CI runs
	MINTMARK_RACE_ROUNDS=10000 $(pytest) --numprocesses auto --dist loadfile -m "long or not long" \
		tests/service/test_races.py tests/process/test_races.py
	MINTMARK_POWER_CUT_SHARES=0.1,0.5,0.9 $(pytest) --numprocesses auto -m "long or not long" tests/store/test_power_cut.py
	MINTMARK_KILL_ROUNDS=20 $(pytest) -m "long or not long" tests/store/test_kill.py
	MINTMARK_SCHEMATHESIS_EXAMPLES=100 $(pytest) --numprocesses auto -m "long or not long" tests/openapi/test_schemathesis.py
	$(pytest) --numprocesses auto -m long --ignore tests/openapi \
		--ignore tests/store/test_power_cut.py --ignore tests/store/test_kill.py --ignore tests/process/test_races.py
	$(pytest) -m "browser or root or proxy"

soak: dev-env  ## kill, freeze and replace servers and databases for a long time; prints rounds, acknowledged, lost
	MINTMARK_FAILOVER_ROUNDS=$${MINTMARK_FAILOVER_ROUNDS:-20} MINTMARK_FAULT_ROUNDS=$${MINTMARK_FAULT_ROUNDS:-200} \
		$(pytest) -s -m "root or not root" tests/soak
	MINTMARK_KILL_ROUNDS=$${MINTMARK_KILL_ROUNDS:-300} $(pytest) -s -m "long or not long" tests/store/test_kill.py

lock: run-env  ## pin the dependencies of pyproject.toml in requirements/; ARGS=--upgrade for the newest
	scripts/lock $(ARGS)

clean:  ## remove everything that was set up or built
	rm -rf .venv tests/compat/node/node_modules build dist .hypothesis .*_cache

run-env:
	@scripts/setup run

dev-env:
	@scripts/setup dev
