# shellcheck shell=bash
# Shared by the scripts in this folder: messages, finding a Python, and becoming root for Debian's packages.
# Sourced, never run.

export LC_ALL=C.UTF-8
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" # Debian keeps servers there, outside a plain user's PATH
unset PYTHONHOME PYTHONPATH VIRTUAL_ENV

say() { printf '==> %s\n' "$*"; }
warn() { printf '==> %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# as_root COMMAND...: run it as root, or answer 1 without asking anybody for a password.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo > /dev/null 2>&1 && sudo -n true > /dev/null 2>&1; then
        sudo -n "$@"
    else
        return 1
    fi
}

can_be_root() { as_root true; }

# new_enough PYTHON: it runs (a version manager's shim may exist and answer nothing) and is at least 3.11.
new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' > /dev/null 2>&1; }

# makes_venv PYTHON: Debian ships `venv` without `ensurepip` unless python3-venv is installed.
makes_venv() { "$1" -c 'import ensurepip, venv' > /dev/null 2>&1; }

# version_of PYTHON: 3.11
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

# python_candidates: every command or path that may be a Python, best first, one a line.
python_candidates() {
    local name file
    for name in python3.13 python3.12 python3.11 python3 python3.14 python3.15; do
        command -v "$name" 2> /dev/null || true
    done
    for file in /usr/bin/python3 /usr/bin/python3.1[1-9] "${HOME:-/nonexistent}"/.pyenv/versions/*/bin/python3; do
        if [ -x "$file" ]; then printf '%s\n' "$file"; fi
    done
}

# apt_install PACKAGE...: from Debian's packages, without starting any service. Needs root (see can_be_root).
# The list of packages is refreshed only when there is none or it turns out too old.
apt_install() (
    policy=${POLICY_RC_D:-/usr/sbin/policy-rc.d} # tests put it elsewhere
    if [ ! -e "$policy" ]; then # exit 101 tells invoke-rc.d: no service may be started
        trap 'as_root rm -f "$policy"' EXIT
        trap 'exit 130' HUP INT TERM
        as_root sh -c "printf '#!/bin/sh\nexit 101\n' > $policy && chmod 755 $policy" || exit 1
    fi
    install() { as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" > /dev/null; }
    if compgen -G '/var/lib/apt/lists/*Packages*' > /dev/null && install "$@" 2> /dev/null; then exit 0; fi
    say "refreshing the list of Debian's packages"
    as_root apt-get update -qq && install "$@"
)
