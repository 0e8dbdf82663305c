"""The command `sample`: draws the sample set and shows a progress bar."""

from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jobs.wording import wrong_settings
from pipelines.sample.settings import SampleSettings
from pipelines.sample.write import SampleSummary, write_sample


def draw(out: Path, *, identities: int, photos: int, seed: int, processes: int) -> SampleSummary:
    """Draw a set into a folder and print its size.

    Raises:
        UserError: a number is out of bounds, or the folder has other content.
    """
    try:
        settings = SampleSettings(identities=identities, photos=photos, seed=seed, processes=processes)
    except ValidationError as error:
        raise wrong_settings(error, SampleSettings, prefix="--") from None
    columns = (TextColumn("drawing"), BarColumn(), MofNCompleteColumn(), TextColumn("people"), TimeRemainingColumn())
    console = Console()
    with Progress(*columns, console=console) as bars:
        task = bars.add_task("drawing", total=identities)
        summary = write_sample(out, settings, on_progress=lambda done, total: bars.update(task, completed=done))
    console.print(
        f"{summary.num_files:,} files of {summary.num_identities:,} people, {summary.num_bytes / 1e6:,.1f} MB, "
        f"in {out / summary.images}",
        soft_wrap=True,
        highlight=False,
    )
    return summary
