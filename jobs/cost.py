"""A rough forecast of a run: rows, bytes, tasks and seconds of each stage, from earlier runs or from stated costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.places.settings import PlaceSettings
from jobs.planning import PlannedStage
from jobs.settings import RunSettings
from jobs.stages import Stage
from pipelines.run_folder import RECORD_NAME, RunFolder, RunState
from pipelines.settings import UserError
from pipelines.sources.chunks import expected_chunks
from pipelines.sources.listing import SourceListing

START_SECONDS = 10.0  # of a JVM or of the ranks, included in measured costs
_ROW_BYTES = 300  # of a record beside its picture
_BYTES_PER_PIXEL = 0.3  # of a JPEG of usual quality, where nothing else tells the size of pictures
_ALIKE = 2.0  # pictures whose mean bytes differ by more than this factor tell nothing of one another


@dataclass(frozen=True)
class Cost:
    """Core-seconds, measured on 2 cores of a server of 2023; a rank of training counts as one core."""

    per_image: float
    per_megapixel: float = 0.0


# What stages cost that were never measured at this place: tests/bench/ingest.py, a million drawn rows for pairs and
# curate, and the demo for the others.
COSTS = {
    "ingest": Cost(0.32e-3, 5.6e-3),
    "reference": Cost(0.32e-3, 5.6e-3),
    "pairs": Cost(0.06e-3),
    "export": Cost(1e-6),
    "embed": Cost(5e-3, 5.6e-3),
    "score": Cost(0.2e-3),
    "curate": Cost(0.1e-3),
    "shard": Cost(1e-3),
    "train": Cost(40e-3),
    "evaluate": Cost(10e-3),
    "report": Cost(20e-6),
}
_UNKNOWN = Cost(1e-3)  # of a stage that nobody has measured


@dataclass(frozen=True)
class Forecast:
    """The size of one stage, and the time that it is expected to take."""

    images: int
    num_bytes: int | None  # None = unknown before it exists
    tasks: int | None  # of Spark; None = no stage of Spark's, or for Spark to choose
    seconds: float  # 0 when nothing is to be done
    is_measured: bool  # the seconds come from an earlier run


def forecast(
    settings: RunSettings, planned: Sequence[PlannedStage], *, image_px: float | None = None
) -> dict[str, Forecast]:
    """Stage -> what is known and expected; images rejected later are counted throughout, so this is an upper bound.

    Args:
        image_px: mean side of a picture; None = estimated from its bytes.
    """
    listing = next(one.listing for one in planned if one.listing is not None)
    bytes_per_image = listing.num_bytes / max(1, listing.num_files)
    megapixels = (bytes_per_image / _BYTES_PER_PIXEL if image_px is None else image_px**2) / 1e6
    measured = measured_costs(settings.runs, bytes_per_image)
    expected: dict[str, Forecast] = {}
    for one in planned:
        if one.is_done:
            num_bytes = sum(file.num_bytes for file in one.manifest().files) if one.stage.makes else None
            expected[one.name] = Forecast(listing.num_files, num_bytes, None, 0.0, one.name in measured)
            continue
        images = _images_of(one, settings, listing)
        cost = COSTS.get(one.stage.verb, _UNKNOWN)
        per_image = measured.get(one.name, cost.per_image + cost.per_megapixel * megapixels)
        core_seconds = images * passes(settings, one.stage.verb) * per_image
        start = 0.0 if one.name in measured else START_SECONDS
        expected[one.name] = Forecast(
            images=images,
            num_bytes=_bytes_of(one.stage, listing),
            tasks=_tasks_of(one.stage, settings, listing),
            seconds=start + core_seconds / workers(one.stage, settings.place),
            is_measured=one.name in measured,
        )
    return expected


def passes(settings: RunSettings, stage: str) -> int:
    """The number of times that a stage reads every image."""
    if stage != "train":
        return 1
    return settings.recipe.epochs * settings.objective.pictures_per_row


def workers(stage: Stage, place: PlaceSettings) -> int:
    """The number of cores, or of ranks, that share a stage."""
    return {"spark": place.num_cores, "ranks": place.num_ranks, "local": 1}[stage.launcher]


def measured_costs(runs: Path, bytes_per_image: float) -> dict[str, float]:
    """Core-seconds per image by stage, from the newest run below a folder that did the stage on pictures alike."""
    costs: dict[str, float] = {}
    for path in sorted(runs.glob(f"*/{RECORD_NAME}"), key=lambda path: path.stat().st_mtime):
        try:
            state = RunFolder(path.parent).read_state()
        except UserError:
            continue  # a run of another version tells nothing, and is no hindrance
        if state is not None and state.source is not None and _are_alike(state.source, bytes_per_image):
            costs.update(_costs_of(state, state.source))
    return costs


def _images_of(planned: PlannedStage, settings: RunSettings, listing: SourceListing) -> int:
    if planned.stage.verb == "reference" and planned.listing is not None:
        return planned.listing.num_files
    if planned.stage.verb != "evaluate":
        return listing.num_files
    # It looks at pairs, of another set or drawn from the held-out pictures.
    if planned.listing:
        return planned.listing.num_files
    return min(listing.num_files, settings.evaluate.sets[planned.stage.instance].num_images or 0)


def _are_alike(source: SourceListing, bytes_per_image: float) -> bool:
    theirs = source.num_bytes / max(1, source.num_files)
    return max(theirs, bytes_per_image) <= _ALIKE * min(theirs, bytes_per_image)


def _costs_of(state: RunState, source: SourceListing) -> dict[str, float]:
    return {
        name: stage.seconds * stage.workers / (source.num_files * stage.passes)
        for name, stage in state.stages.items()
        if stage.status == "done" and stage.seconds > 0
    }


def _bytes_of(stage: Stage, listing: SourceListing) -> int | None:
    if stage.makes == "records":
        return listing.num_bytes + _ROW_BYTES * listing.num_files
    return listing.num_bytes if stage.makes == "dataset" else None


def _tasks_of(stage: Stage, settings: RunSettings, listing: SourceListing) -> int | None:
    if stage.makes == "records":
        return expected_chunks(listing.num_files, listing.num_bytes, settings.source)
    if stage.makes == "dataset":
        return -(-listing.num_files // settings.shard.rows_per_file)
    return None
