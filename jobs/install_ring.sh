#!/usr/bin/env bash
# Install what one pip run cannot install beside torch: Petastorm, and Horovod compiled against the installed torch.
#
# usage: install_ring.sh PYTHON CACHE_DIR
#
# Horovod ships source only and must be compiled against the very torch that runs it, so the wheel is kept
# in CACHE_DIR under a name made of the Horovod, torch and Python versions; a second run installs it in seconds.
set -euo pipefail

version=0.28.1
petastorm=0.13.1
python=$1 cache=$2
operations=${HOROVOD_GPU_OPERATIONS:-cpu}
if ! torch=$("$python" -c 'import torch; print(torch.__version__)' 2>/dev/null); then
    echo "torch is not installed; run: pip install 'ringmill[train]'" >&2
    exit 2
fi
key="horovod-$version-torch-$torch-$operations-$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("SOABI"))')"
kept="$cache/$key"

if ! compgen -G "$kept/*.whl" >/dev/null; then
    for tool in g++ cmake; do
        command -v "$tool" >/dev/null || { echo "Horovod is compiled with $tool, which is not on the PATH; install it" >&2; exit 2; }
    done
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    # Horovod 0.28.1 asks for C++14 while the headers of torch need C++20: this stands in for g++ and says so.
    # It may go once a Horovod release follows the compiler flags of torch.
    cat >"$work/g++" <<'WRAPPER'
#!/usr/bin/env bash
args=()
for arg in "$@"; do
    case $arg in -std=c++1[147] | -std=gnu++1[147]) args+=(-std=c++20) ;; *) args+=("$arg") ;; esac
done
exec "${RINGMILL_CXX:-g++}" "${args[@]}"
WRAPPER
    chmod +x "$work/g++"
    echo "building Horovod $version against torch $torch: about 3 minutes, once"
    if ! env CXX="$work/g++" HOROVOD_WITH_PYTORCH=1 HOROVOD_WITHOUT_TENSORFLOW=1 HOROVOD_WITHOUT_MXNET=1 \
        HOROVOD_WITHOUT_MPI=1 HOROVOD_WITH_GLOO=1 MAKEFLAGS="-j$(nproc)" \
        "$python" -m pip wheel --quiet --no-build-isolation --no-deps --no-binary horovod \
        --wheel-dir "$work/out" "horovod==$version" >"$work/log" 2>&1; then
        tail -n 40 "$work/log" >&2
        echo "building Horovod $version failed (above: the end of its log); g++ and cmake must be installed" >&2
        exit 1
    fi
    # The wheel appears whole or not at all: a killed build leaves nothing that a later set-up would trust.
    mkdir -p "$cache" && rm -rf "$kept" && mv "$work/out" "$kept"
fi
"$python" -m pip install --quiet --no-deps --force-reinstall "$kept"/*.whl
# Petastorm declares setuptools<70, which its code does not need and torch refuses.
"$python" -m pip install --quiet --no-deps "petastorm==$petastorm"
