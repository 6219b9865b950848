#!/usr/bin/env bash
# Run a quick part of the tests (nothing slow, no servers, no linters) on every other installed Python >= 3.11 than the one
# of .venv: one run for each minor version, in an environment of its own (.venv-3.12, ...).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

seen=" $(version_of .venv/bin/python) "
while read -r python; do
    new_enough "$python" || continue
    version=$(version_of "$python")
    case "$seen" in *" $version "*) continue ;; esac
    if ! makes_venv "$python"; then
        say "Python $version ($python) cannot make virtual environments: not tested on it"
        continue
    fi
    seen="$seen$version "
    PYTHON=$python scripts/setup.sh dev ".venv-$version" || die "could not set up .venv-$version for Python $version"
    say "quick tests on Python $version"
    ".venv-$version/bin/python" -m pytest -q -p no:cacheprovider -m "not slow and not server" --ignore=tests/architecture \
        "$@" || die "tests failed on Python $version"
done < <(python_candidates)
