#!/usr/bin/env bash
# Every scenario, the project's own and those beside the checkout where they are, with seeds 1 to 20, one run per core at a time.
# Arguments go to `steerd simulate`; a second --seeds wins, --jobs N takes fewer cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

found=(tests/scenarios/*.yaml)
for folder in ../shared/scenarios ../../shared/scenarios; do
    if [ -d "$folder" ]; then
        found+=("$folder"/*.yaml)
        break
    fi
done
exec .venv/bin/python -m steerd simulate --seeds 1-20 "$@" "${found[@]}"
