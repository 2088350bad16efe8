# Commands for people who work on Farthing. `just` comes with the extra dev; `.venv/bin/just --list` shows all recipes.

set shell := ["bash", "-euo", "pipefail", "-c"]

bin := env("FARTHING_BIN", justfile_directory() / ".venv/bin")
export PATH := bin + ":" + env("PATH")

# The tests that kernels and their references share: test_no_jit.py names them.
references := "$(python -c 'from tests.kernels.test_no_jit import SAME_TESTS; print(*(f\"tests/{name}\" for name in SAME_TESTS))')"

[private]
default:
    @just --list --unsorted

# install what the recipes need, and set up the hooks
setup:
    .venv/bin/pip install -q -e '.[test,dev,docs,release]'
    .venv/bin/pre-commit install

# lint, format, types, spelling, workflows, commit subjects
check:
    ruff check .
    ruff format --check .
    mypy
    typos
    .ci/workflows
    .ci/subjects

# the whole suite, or the parts that you name: just test tests/wire
test *arguments:
    pytest {{ arguments }}

# the pure tests, without broker and browser, with few examples each
fast *arguments:
    pytest -q --hypothesis-profile=references @.ci/pure {{ arguments }}

# the statements and branches that the pure tests reach, with kernels' references; fails below the floor
coverage:
    coverage erase
    FARTHING_NO_JIT=1 coverage run -m pytest -q -n0 -p no:cacheprovider {{ references }}
    coverage run -m pytest -q -n0 -p no:cacheprovider @.ci/pure
    coverage combine -q
    coverage report

# micro-benchmarks of the kernels: just bench --help
bench *arguments:
    python -m loadtest.micro {{ arguments }}

# the documentation site, into site/; any warning fails it
docs:
    NO_MKDOCS_2_WARNING=1 mkdocs build -f .mkdocs.yml  # -q would drop the warnings, and strictness with them

# the SBOM (CycloneDX) of what is installed with a release, into dist/
sbom:
    python .ci/sbom.py

# coverage-guided fuzzing of one target (extra fuzz), for a minute or as many seconds as you say: just fuzz event 600
fuzz *arguments:
    python -m tests.fuzz.run {{ arguments }}

# the files of a release, into dist/, after checking version, changelog and tag: just release v0.1.0
release *tag:
    python .ci/release.py {{ tag }}
