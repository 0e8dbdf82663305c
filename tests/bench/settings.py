"""Reading the settings: seconds to import every section, and to compose a run, beside pydantic and PyYAML alone.

    python tests/bench/settings.py [--rounds 9]

Each round starts fresh interpreters in turns; the figures are medians, an empty interpreter taken off. The bar is 0.3 s
for the import. One JSON line last.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
BAR_SECONDS = 0.3
CODE = {
    "empty": "pass",
    "libraries": "import pydantic, yaml; from pydantic import BaseModel",
    "import": "import jobs.settings",
    "compose": "from jobs.settings import compose; compose(['source.path=/faces'])",
}


def seconds(code: str) -> float:
    """Seconds that a fresh interpreter takes for the code."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    taken: dict[str, list[float]] = {name: [] for name in CODE}
    for _ in range(rounds):
        for name, code in CODE.items():
            taken[name].append(seconds(code))
    median = {name: statistics.median(values) for name, values in taken.items()}
    net = {name: round(median[name] - median["empty"], 3) for name in CODE if name != "empty"}
    for name, value in net.items():
        print(f"{name:10} {value:.3f} s")
    ratio = round(net["import"] / net["libraries"], 2)
    print(json.dumps({**{f"{name}_seconds": value for name, value in net.items()}, "bar": BAR_SECONDS, "ratio": ratio}))


if __name__ == "__main__":
    main()
