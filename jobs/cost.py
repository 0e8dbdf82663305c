"""A rough forecast of a run: rows, bytes and seconds of each stage, from earlier runs or from stated defaults."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.settings import RunSettings
from jobs.stages import PlannedStage
from jobs.state import RUN_JSON, RunState, read_state
from pipelines.manifest import read
from pipelines.settings import UserError

# Images per second of the whole place, for stages never measured here: a small machine of two cores, 112x112 faces.
DEFAULT_RATES = {"ingest": 400.0, "curate": 2000.0, "shard": 2000.0, "train": 50.0, "evaluate": 200.0, "report": 2000.0}
START_SECONDS = 10.0  # of a JVM or of the ranks, included in measured rates


@dataclass(frozen=True)
class Forecast:
    """What one stage holds, or is expected to hold and to take."""

    images: int
    num_bytes: int | None  # None = not to be told before it exists
    seconds: float  # 0 when nothing is to be done
    is_measured: bool  # the seconds come from an earlier run


def forecast(settings: RunSettings, planned: Sequence[PlannedStage]) -> dict[str, Forecast]:
    """Stage -> what is known and expected; images rejected later are counted throughout, so this is an upper bound."""
    listing = next(one.listing for one in planned if one.listing is not None)
    rates = measured_rates(settings.runs)
    expected: dict[str, Forecast] = {}
    for one in planned:
        images = listing.num_files * passes(settings, one.name)
        rate = rates.get(one.name)
        if one.is_done:
            num_bytes = sum(file.num_bytes for file in read(one.folder).files) if one.stage.kind else None
            expected[one.name] = Forecast(listing.num_files, num_bytes, 0.0, rate is not None)
            continue
        seconds = images / rate if rate else START_SECONDS + images / DEFAULT_RATES[one.name]
        num_bytes = listing.num_bytes if one.stage.kind in ("records", "dataset") else None
        expected[one.name] = Forecast(listing.num_files, num_bytes, seconds, rate is not None)
    return expected


def passes(settings: RunSettings, stage: str) -> int:
    """How often a stage sees every image."""
    epochs: int = settings.sections["recipe"]["epochs"] if stage == "train" else 1
    return epochs


def measured_rates(runs: Path) -> dict[str, float]:
    """Images per second by stage, from the newest run below a folder that did the stage."""
    rates: dict[str, float] = {}
    for path in sorted(runs.glob(f"*/{RUN_JSON}"), key=lambda path: path.stat().st_mtime):
        try:
            state = read_state(path.parent)
        except UserError:
            continue  # a run of another version tells nothing, and is no hindrance
        if state is not None:
            rates.update(_rates_of(state))
    return rates


def _rates_of(state: RunState) -> dict[str, float]:
    if state.source is None:
        return {}
    return {
        name: state.source.num_files * stage.passes / stage.seconds
        for name, stage in state.stages.items()
        if stage.status == "done" and stage.seconds > 0
    }
