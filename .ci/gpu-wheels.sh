#!/usr/bin/env bash
# Collect the wheels of gpu-wheels.txt, of the versions that were tested, for the Python of another machine.
#
# usage: gpu-wheels.sh PYTHON VERSION CONSTRAINTS FOLDER    (VERSION: of the Python there, such as 3.12)
set -euo pipefail

python=$1 version=$2 constraints=$3 folder=$4
list=$(dirname "$0")/gpu-wheels.txt
platforms=()
for glibc in 2_28 2_27 2_26 2_24 2_17 2_12 2_5; do
    platforms+=(--platform "manylinux_${glibc}_$(uname -m)")
done
mkdir -p "$folder"
rm -f "$folder"/*.whl
# The index has the sources of this one only; its wheel, built first, is found beside the others.
PIP_CONSTRAINT=$constraints "$python" -m pip wheel --quiet --no-deps --wheel-dir "$folder" "antlr4-python3-runtime==4.9.*"
"$python" -m pip download --quiet --no-deps --only-binary=:all: --find-links "$folder" \
    --implementation cp --python-version "$version" "${platforms[@]}" \
    --constraint "$constraints" --requirement "$list" --dest "$folder"
echo "$(find "$folder" -type f -name '*.whl' | wc -l) wheels, $(du -sh "$folder" | cut -f1), in $folder"
