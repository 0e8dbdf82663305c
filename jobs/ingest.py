"""The job that turns raw images into records."""

import sys
from collections.abc import Sequence
from dataclasses import asdict

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.entry import JobContext, run_job
from jobs.listing import require_listed, source_digest
from jobs.settings import PROJECT
from jobs.spark_work import read_files, spark_session
from pipelines.faces import build_detector
from pipelines.identity_hints import identity_notes
from pipelines.ingest import Survey, digest_of_records, ingest, refuse_if_changed, survey
from pipelines.manifest import clear, code_version
from pipelines.parquet import remove_unlisted
from pipelines.records import DECODE_OK
from pipelines.settings import UserError
from pipelines.sources.entry import INSIDE, UNREADABLE, Break
from pipelines.sources.passed_over import PassedOverTally, in_words

_MARKER = ".attempt"  # names the code and the chunks of an interrupted attempt
_MAX_NAMED = 100


def ingest_source(context: JobContext) -> None:
    """Write the records of the source, one file per chunk."""
    settings = context.settings
    faces = build_detector(settings.faces)
    if faces is not None:
        faces.load()
    with spark_session(context) as spark:
        found = survey(spark, settings.source)
        _log(context, found)
        _refuse_if_broken(context, found, found.breaks, num_unreadable=0)
        if not found.chunks:
            raise UserError(f"source.path={settings.source.path} holds no image any more; name a source with images")
        by_content = settings.source.verify == "content"
        where = f"source.path={settings.source.path}"
        if not by_content:
            require_listed(settings, context.stage.name, source_digest(settings, found.listing), where=where)
        _resume_or_clear(context, found)
        files = ingest(spark, found.chunks, context.folder, source=settings.source, pixels=settings.pixels, faces=faces)
        refuse_if_changed(found, settings.source)
        if by_content:
            read = source_digest(settings, digest_of_records(spark, context.folder, files))
            require_listed(settings, context.stage.name, read, where=where)
        written = read_files(spark, context.folder, files)
        outcomes = {row["decode"]: row["count"] for row in written.groupBy("decode").count().collect()}
        unreadable = _unreadable_parts(written, settings.source.path) if UNREADABLE in outcomes else []
        hints = identity_notes(written, settings.source)
    for part in (*hints, *unreadable):
        context.log.warning("%s", part)
    breaks = [*found.breaks, *unreadable]
    num_rows = sum(file.rows for file in files)
    # Law: nothing is dropped silently. Checked on the written files, before the manifest declares them complete.
    if num_rows != found.num_images or sum(outcomes.values()) != num_rows:
        raise UserError(
            f"source.path={settings.source.path} listed {found.num_images:,} images but gave {num_rows:,} records: "
            "it changed while it was read; run again when it no longer changes"
        )
    _refuse_if_broken(context, found, breaks, num_unreadable=outcomes.get(UNREADABLE, 0))
    _refuse_if_useless(context, outcomes)
    counts = {"rows": num_rows, **{f"decode:{name}": outcomes[name] for name in sorted(outcomes)}}
    if breaks:
        counts |= {"broken_parts": len(breaks), "broken_bytes": sum(part.num_bytes for part in breaks)}
    counts |= _counts_of(found.passed_over)
    notes = [*_notes(breaks, found.passed_over), *hints]
    facts = {"broken": [asdict(part) for part in breaks[:_MAX_NAMED]], "notes": notes}
    if found.passed_over.total:
        facts["passed_over"] = found.passed_over.named
    remove_unlisted(context.folder, files)
    more = f", {len(breaks):,} broken parts of the source" if breaks else ""
    more += f", {found.passed_over.total:,} files passed over" if found.passed_over.total else ""
    summary = f"{num_rows:,} images, {num_rows - outcomes[DECODE_OK]:,} undecodable{more}"
    context.finish(counts=counts, files=files, summary=summary, facts=facts)


def _counts_of(tally: PassedOverTally) -> dict[str, int]:
    """The counts of the manifest; empty where nothing is passed over."""
    by_reason = {f"passed_over:{reason}": tally.counts[reason] for reason in sorted(tally.counts)}
    return {"passed_over": tally.total, **by_reason} if by_reason else {}


def _resume_or_clear(context: JobContext, found: Survey) -> None:
    """Keep the files of an interrupted attempt if code and chunks are the same; the folder implies the settings."""
    attempt = f"{code_version(PROJECT / 'pipelines')} {found.digest}"
    marker = context.folder / _MARKER
    if not marker.is_file() or marker.read_text() != attempt:
        clear(context.folder)
        marker.write_text(attempt)


def _unreadable_parts(records: DataFrame, path: str) -> list[Break]:
    """The containers with listed images that could not be read; all loose files count as one container."""
    container = F.when(F.col("source").contains(INSIDE), F.substring_index("source", INSIDE, 1)).otherwise(path)
    rows = (
        records.where(F.col("decode") == UNREADABLE)
        .groupBy(container.alias("container"))
        .agg(F.count(F.lit(1)).alias("images"), F.min("source").alias("first"))
        .orderBy("container")
        .limit(_MAX_NAMED)
        .collect()
    )
    return [
        Break(row["container"], 0, 0, f"{row['images']:,} listed images could not be read, the first {row['first']}")
        for row in rows
    ]


def _log(context: JobContext, found: Survey) -> None:
    for part in found.breaks[:_MAX_NAMED]:
        context.log.warning("%s", part)
    for reason, names in found.passed_over.named.items():
        count, first = found.passed_over.counts[reason], ", ".join(names)
        context.log.warning("passed over: %s %s, the first: %s", f"{count:,}", in_words(reason), first)


def _refuse_if_broken(context: JobContext, found: Survey, breaks: Sequence[Break], *, num_unreadable: int) -> None:
    fraction, most = found.broken_fraction(num_unreadable=num_unreadable), context.settings.ingest.max_broken_fraction
    if fraction > most:
        enough = min(1.0, fraction + 0.01)
        raise UserError(
            f"source.path={context.settings.source.path}: {fraction:.1%} of it is broken, the first part: {breaks[0]}; "
            f"mend or remove it, or allow it by ingest.max_broken_fraction={enough:.2f} (now {most:g})"
        )


def _refuse_if_useless(context: JobContext, outcomes: dict[str, int]) -> None:
    if not outcomes.get(DECODE_OK):
        outcome = ", ".join(f"{count:,} {name}" for name, count in sorted(outcomes.items(), key=lambda item: -item[1]))
        raise UserError(
            f"source.path={context.settings.source.path} holds {sum(outcomes.values()):,} files and not one readable "
            f"image ({outcome}); name a {context.settings.source.kind} with images in it"
        )


def _notes(breaks: Sequence[Break], passed_over: PassedOverTally) -> list[str]:
    more = [f"and {len(breaks) - 3:,} more broken parts; the log of ingest lists them"] if len(breaks) > 3 else []
    return [*map(str, breaks[:3]), *more, *([passed_over.note()] if passed_over.total else [])]


if __name__ == "__main__":
    sys.exit(run_job("ingest", ingest_source))
