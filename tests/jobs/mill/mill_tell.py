"""The last stage of the test river: writes the report."""

import sys

from mill_settings import MillSettings
from mill_stages import STAGES

from jobs.entry import JobContext, run_job


def work(context: JobContext) -> None:
    (context.run_folder / "report.html").write_text((context.parents["bread"] / "bread.txt").read_text())


if __name__ == "__main__":
    sys.exit(run_job("tell", work, stages=STAGES, model=MillSettings))
