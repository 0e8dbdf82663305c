"""A slow join in plain Python is the oracle."""

import hashlib
import random

import pytest

from jobs.report.artefact import open_artefact
from jobs.report.kept import kept_records


def _rows(seed, num=300):
    """Kept, rejected and duplicate rows; a copy of a kept picture has its bytes and identity, and maybe no name."""
    rng = random.Random(seed)
    rows = []
    for number in range(num):
        image_id = hashlib.sha256(bytes([number % 256, number // 256, seed])).hexdigest()
        status = rng.choice(["kept", "kept", "rejected"])
        row = {"image_id": image_id, "identity": f"p{number % 7}", "blur": float(number), "num_bytes": number}
        rows.append({**row, "source": f"{number}", "status": status, "split": "train"})
        for copy in range(rng.choice([0, 0, 2]) if status == "kept" else 0):
            name = rng.choice([row["identity"], None])
            status_of_copy = "duplicate" if name else "rejected"
            rows.append({**row, "identity": name, "source": f"{number}-{copy}", "status": status_of_copy})
    return rng.sample(rows, len(rows))


@pytest.mark.parametrize("seed", range(3))
def test_each_kept_picture_comes_once_and_nothing_else(rebuild, seed):
    rows = _rows(seed)
    opened = (open_artefact(rebuild("many", rows).artefacts[kind]) for kind in ("records", "decisions"))
    found = [row for piece in kept_records(*opened, ["identity", "blur"]) for row in piece.to_pylist()]
    expected = [{"identity": row["identity"], "blur": row["blur"]} for row in rows if row["status"] == "kept"]
    assert sorted(found, key=lambda row: row["blur"]) == sorted(expected, key=lambda row: row["blur"])


def test_where_nothing_is_kept_there_is_nothing(rebuild):
    rows = [{**row, "status": "rejected"} for row in _rows(5, num=9)]
    opened = (open_artefact(rebuild("none", rows).artefacts[kind]) for kind in ("records", "decisions"))
    assert list(kept_records(*opened, ["blur"])) == []
