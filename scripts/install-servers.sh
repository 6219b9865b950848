#!/usr/bin/env bash
# Install the real servers that tests talk to (BIND 9, its tools, HAProxy) where they are missing, from Debian's packages and
# without starting their services. Without root rights it prints the command and ends well: the tests that need a missing
# server then skip and say so (with CI=true they fail).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

# program:package
needed=(named:bind9 dig:bind9-dnsutils nsupdate:bind9-dnsutils haproxy:haproxy)
missing=()
for pair in "${needed[@]}"; do
    command -v "${pair%%:*}" > /dev/null 2>&1 && continue
    case " ${missing[*]-} " in *" ${pair##*:} "*) ;; *) missing+=("${pair##*:}") ;; esac
done
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

if ! command -v apt-get > /dev/null 2>&1; then
    warn "missing test servers: ${missing[*]}; install them with your system's packages. Tests that need them will skip."
elif ! can_be_root; then
    warn "missing test servers; tests that need them will skip. To run them too: sudo apt-get install ${missing[*]}"
else
    say "installing the test servers ${missing[*]} (their services are not started)"
    apt_install "${missing[@]}" || warn "could not install ${missing[*]}: tests that need them will skip"
fi
