"""Manifests are written by hand."""

import pytest

from jobs.report.artefact import open_artefact
from jobs.report.sections.broken import BrokenPart, broken_parts
from pipelines import manifest

PART = {"container": "a.tar", "offset": 1024, "num_bytes": 512, "reason": "bad header"}


@pytest.fixture
def records_with(tmp_path):
    def write(counts, facts):
        made = {"kind": "records", "fingerprint": "f", "code_version": "c", "parents": {}, "settings": {}}
        manifest.write(tmp_path, manifest.Manifest(**made, counts=counts, files=(), facts=facts))
        return open_artefact(tmp_path)

    return write


def test_counts_are_of_all_parts_and_not_only_of_the_named(records_with):
    found = broken_parts(records_with({"broken_parts": 120, "broken_bytes": 70000}, {"broken": [PART]}))
    assert (found.num_parts, found.num_bytes, found.named) == (
        120,
        70000,
        [BrokenPart("a.tar", 1024, 512, "bad header")],
    )


def test_a_manifest_without_broken_parts_has_none(records_with):
    assert broken_parts(records_with({"rows": 3}, {})) is None
    assert broken_parts(records_with({"broken_parts": 0, "broken_bytes": 0}, {"broken": []})) is None
