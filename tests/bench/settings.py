"""Reading the settings: CPU seconds to import every section, and to compose a run, beside pydantic and PyYAML alone.

    python tests/bench/settings.py [--rounds 9]

Each round starts fresh interpreters in turns; the figures are medians of CPU time, which a busy machine changes little,
with the interpreter's own start. The bar is 0.3 s for the import. One JSON line last.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
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
    """CPU seconds that a fresh interpreter takes for the code, user's and system's."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


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
    for name, value in median.items():
        print(f"{name:10} {value:.3f} s")
    figures = {f"{name}_seconds": round(value, 3) for name, value in median.items()}
    ratio = round(median["import"] / median["libraries"], 2)
    print(json.dumps({**figures, "bar_seconds": BAR_SECONDS, "ratio": ratio}))


if __name__ == "__main__":
    main()
