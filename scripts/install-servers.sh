#!/usr/bin/env bash
# Install the real servers that tests talk to (BIND 9, Knot and PowerDNS, HAProxy, and what models depend on: Redis, PostgreSQL,
# RabbitMQ, NATS, Prometheus) where they are missing, from Debian's packages and without starting their services. Without root rights it prints the command and ends well: the tests that need a missing
# server then skip and say so (with CI=true they fail).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

# program:package
needed=(named:bind9 dig:bind9-dnsutils nsupdate:bind9-dnsutils haproxy:haproxy)
needed+=(pdns_server:pdns-server pdnsutil:pdns-server knotd:knot)
needed+=(redis-server:redis-server postgres:postgresql rabbitmq-server:rabbitmq-server nats-server:nats-server prometheus:prometheus)
for folder in /usr/lib/postgresql/*/bin; do PATH="$PATH:$folder"; done # Debian keeps its programs there, a folder a version
missing=()
for pair in "${needed[@]}"; do
    command -v "${pair%%:*}" > /dev/null 2>&1 && continue
    case " ${missing[*]-} " in *" ${pair##*:} "*) ;; *) missing+=("${pair##*:}") ;; esac
done
# PowerDNS loads its backend as a library.
compgen -G '/usr/lib/*/pdns/libgsqlite3backend.so' > /dev/null || missing+=(pdns-backend-sqlite3)
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

if ! command -v apt-get > /dev/null 2>&1; then
    warn "missing test servers: ${missing[*]}; install them with your system's packages. Tests that need them will skip."
elif ! can_be_root; then
    warn "missing test servers; tests that need them will skip. To run them too: sudo apt-get install ${missing[*]}"
else
    say "installing the test servers ${missing[*]} (their services are not started)"
    apt_install "${missing[@]}" || warn "could not install ${missing[*]}: tests that need them will skip"
fi
