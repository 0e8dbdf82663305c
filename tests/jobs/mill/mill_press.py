"""The second stage of the test river: counts the rows of the first."""

import sys

from mill_settings import MillSettings
from mill_stages import STAGES

from jobs.entry import JobContext, run_job
from pipelines.manifest import clear, describe


def work(context: JobContext) -> None:
    rows = len((context.parents["flour"] / "rows/flour.txt").read_text().splitlines())
    clear(context.folder)
    path = context.folder / "bread.txt"
    path.write_text(f"{rows * context.settings.press.loaves}")
    context.finish(counts={"rows": rows}, files=[describe(context.folder, path)])


if __name__ == "__main__":
    sys.exit(run_job("press", work, stages=STAGES, model=MillSettings))
