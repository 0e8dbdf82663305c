#!/usr/bin/env bash
# Print the versions installed beside a Python as constraints, without those that `make setup` builds or installs apart.
set -euo pipefail
echo "# Every version that was installed when the tests passed; written by \`make lock\`."
"$1" -m pip list --format=freeze --exclude-editable |
    grep -viE '^(horovod|petastorm|pip)==' | sed -E 's/\+[a-z0-9.]+$//' | sort -f
