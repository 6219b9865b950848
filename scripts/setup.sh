#!/usr/bin/env bash
# Make or refresh a virtual environment with steerd from this checkout.
#
#   scripts/setup.sh run [VENV]    what `steerd` needs to run          (requirements.lock)
#   scripts/setup.sh dev [VENV]    what the tests and linters need too (requirements-dev.lock)
#
# VENV is .venv by default; PYTHON=... chooses the interpreter. Every package comes with a hash from the lock files. Nothing
# happens when the environment already is as the locks say. One that is broken or half made is made again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

what=${1:-run}
venv=${2:-.venv}
case "$what" in
    run) locks=(requirements.lock requirements-build.lock) ;;
    dev) locks=(requirements-dev.lock) ;;
    *) die "scripts/setup.sh: '$what' is not 'run' or 'dev'" ;;
esac
unfinished=$venv/unfinished

find_python() {
    local candidate without_venv=
    if [ -n "${PYTHON:-}" ]; then
        new_enough "$PYTHON" || die "PYTHON=$PYTHON does not run or is older than 3.11"
        makes_venv "$PYTHON" || die "PYTHON=$PYTHON has no venv and ensurepip modules"
        command -v "$PYTHON"
        return
    fi
    while read -r candidate; do
        new_enough "$candidate" || continue
        if makes_venv "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
        without_venv=${without_venv:-$candidate}
    done < <(python_candidates)
    [ -n "$without_venv" ] || die "no Python 3.11 or newer found; on Debian: apt-get install python3 python3-venv"
    can_be_root || die "$without_venv cannot make virtual environments; run: sudo apt-get install python3-venv"
    say "installing python3-venv, which $without_venv lacks" >&2
    apt_install python3-venv "python$(version_of "$without_venv")-venv" >&2 || die "could not install python3-venv"
    makes_venv "$without_venv" || die "$without_venv still cannot make virtual environments"
    printf '%s\n' "$without_venv"
}

# key: all that the environment's contents follow from; a moved checkout has another path and needs other scripts.
key() {
    {
        printf '%s\n' "$what" "$PWD"
        "$venv/bin/python" -c 'import sys; print(sys.version)'
        cat "${locks[@]}" pyproject.toml
    } | sha256sum | cut -d' ' -f1
}

sound() {
    [ ! -e "$unfinished" ] && new_enough "$venv/bin/python" && "$venv/bin/python" -m pip --version > /dev/null 2>&1 || return 1
    [ -z "${PYTHON:-}" ] || [ "$(version_of "$PYTHON")" = "$(version_of "$venv/bin/python")" ]
}

pip_install() {
    PIP_USER=0 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore "$venv/bin/python" -m pip install \
        -qq --disable-pip-version-check --no-deps "$@"
}

# One set-up at a time: `make demo` and `make test` may be started side by side.
exec 9< .
if command -v flock > /dev/null 2>&1; then
    flock -n 9 || {
        say "waiting for another set-up of this checkout to end"
        flock -w 900 9 || die "another set-up of this checkout has not ended within 15 minutes"
    }
fi

if [ -e "$venv" ] && ! sound; then
    say "$venv is broken, half made or of another Python: making it again"
    rm -rf "$venv"
fi
if [ -e "$venv" ]; then
    if [ -e "$venv/stamp-dev" ]; then # a dev environment holds all that a run environment does, and stays one
        what=dev locks=(requirements-dev.lock)
    fi
    if [ -e "$venv/stamp-$what" ] && [ "$(cat "$venv/stamp-$what")" = "$(key)" ]; then exit 0; fi
else
    python=$(find_python)
    say "making $venv with $("$python" --version) ($python)"
    "$python" -m venv "$venv" || die "$python could not make $venv"
    printf '*\n' > "$venv/.gitignore"
fi

touch "$unfinished"
say "installing the packages of ${locks[*]} into $venv (about a minute the first time)"
for lock in "${locks[@]}"; do
    pip_install --require-hashes -r "$lock" || die "pip could not install $lock; what it said stands above"
done
say "installing steerd from this checkout"
pip_install --no-index --no-build-isolation --force-reinstall --editable . || die "pip could not install the checkout"
rm -f "$venv"/stamp-*
key > "$venv/stamp-$what"
rm -f "$unfinished"
say "$venv is ready"
