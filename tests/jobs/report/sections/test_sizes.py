"""Identities are counted by hand."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.report.artefact import open_artefact
from jobs.report.sections.sizes import identity_chart
from pipelines import manifest


@pytest.mark.parametrize(
    ("sizes", "labels"),
    [
        ([2, 2, 4], ["2: 2 identities", "3: 0 identities", "4: 1 identities"]),
        (
            [1, 3, 300],
            ["1: 1", "2-3: 1", "4-7: 0", "8-15: 0", "16-31: 0", "32-63: 0", "64-127: 0", "128-255: 0", "256-511: 1"],
        ),
    ],
)
def test_identities_are_counted_by_their_pictures(tmp_path, sizes, labels):
    table = pa.table({"split": ["train"] * len(sizes) + ["val"], "num_images": [*sizes, 99]})
    pq.write_table(table, tmp_path / "labels.parquet")
    file = manifest.describe(tmp_path, tmp_path / "labels.parquet")
    content = {"kind": "dataset", "fingerprint": "f", "code_version": "c", "parents": {}, "settings": {}, "counts": {}}
    manifest.write(tmp_path, manifest.Manifest(**content, files=(file,)))
    chart = identity_chart(open_artefact(tmp_path))
    assert [bar.label.removesuffix(" identities") for bar in chart.bars] == [
        x.removesuffix(" identities") for x in labels
    ]
