#!/usr/bin/env bash
# Make the virtual environment $VENV: check the machine, install the pins, build Horovod or take it from $CACHE.
set -euo pipefail

root=$(dirname "$0")/..

fail() {
    echo "ringmill: $*" >&2
    exit 2
}

# --- the machine: what is missing is installed as root on Debian, and named otherwise
missing=()
command -v java >/dev/null || [ -x "${JAVA_HOME:-/nonexistent}/bin/java" ] || missing+=(openjdk-17-jre-headless)
command -v g++ >/dev/null || missing+=(g++)
command -v cmake >/dev/null || missing+=(cmake)
command -v make >/dev/null || missing+=(make)
command -v "$PYTHON" >/dev/null || PYTHON=python3
command -v "$PYTHON" >/dev/null || missing+=(python3)
if command -v "$PYTHON" >/dev/null; then
    version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    case $version in
    3.11 | 3.12 | 3.13) ;;
    *) fail "PYTHON=$PYTHON is Python $version; Python 3.11 to 3.13 is needed (make PYTHON=/path/to/python3.11)" ;;
    esac
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    [ -f "$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] || missing+=(python3-dev)
fi
if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] ||
        fail "this machine lacks what the Debian packages ${missing[*]} hold; run: sudo apt-get install ${missing[*]}"
    echo "installing ${missing[*]}"
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# --- the packages
[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
python="$VENV/bin/python"
pip=("$python" -m pip install --quiet --constraint "$CONSTRAINTS")
# Horovod is compiled with the packages of this environment, torch among them.
"${pip[@]}" setuptools wheel
"${pip[@]}" --editable "${root}[test]"
"$root/jobs/install_ring.sh" "$python" "$CACHE/wheels"
touch "$VENV/.ready"
