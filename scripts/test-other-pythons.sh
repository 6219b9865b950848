#!/usr/bin/env bash
# Run a quick part of the tests (nothing slow, no real servers, no linters) on every other installed Python >= 3.11 than the
# one of .venv: one run for each minor version, in an environment of its own (.venv-3.12, ...). The runs go side by side, as
# the tests mostly wait; each keeps its output in its environment's tests.log.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

versions=()
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
    versions+=("$version")
done < <(python_candidates)
if [ ${#versions[@]} -eq 0 ]; then exit 0; fi

declare -A running
trap 'kill "${running[@]}" 2> /dev/null || true; exit 130' HUP INT TERM
say "quick tests on Python ${versions[*]} (a few minutes; output in .venv-*/tests.log)"
for version in "${versions[@]}"; do
    ".venv-$version/bin/python" -m pytest -q -p no:cacheprovider -m "not slow and not server" --ignore=tests/architecture \
        "$@" > ".venv-$version/tests.log" 2>&1 < /dev/null &
    running[$version]=$!
done
failed=
for version in "${versions[@]}"; do
    if wait "${running[$version]}"; then
        say "Python $version: $(tail -n 1 ".venv-$version/tests.log")"
    else
        failed="$failed $version"
        cat ".venv-$version/tests.log"
        warn "tests failed on Python $version: see above"
    fi
    unset "running[$version]"
done
[ -z "$failed" ] || die "tests failed on Python$failed"
