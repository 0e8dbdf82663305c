"""The sizes of the identities: their numbers of training pictures."""

import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.report.artefact import Artefact
from jobs.report.charts import Chart, bar_chart
from jobs.report.contents import Contents
from jobs.report.section import Body, Figure

MAX_SINGLE_BARS = 24


def build(contents: Contents) -> Body | None:
    """The section, and at the head of the page the number of identities; None where there is no dataset yet."""
    dataset = contents.newest("dataset")
    if dataset is None:
        return None
    train = dataset.manifest.facts["splits"]["train"]
    figure = Figure("identities", f"{train['classes']:,}", f"{train['rows']:,} training pictures")
    return Body({"sizes": identity_chart(dataset)}, (figure,))


def identity_chart(dataset: Artefact) -> Chart | None:
    """The number of identities by number of training pictures; None where there are no labels."""
    sizes: dict[int, int] = {}
    for path in dataset.tables("labels"):
        labels = pq.read_table(path, columns=["split", "num_images"], page_checksum_verification=True)
        counted = pc.value_counts(labels.filter(pc.equal(labels["split"], "train"))["num_images"])
        for count in counted.to_pylist():
            sizes[count["values"]] = sizes.get(count["values"], 0) + count["counts"]
    if not sizes:
        return None
    return bar_chart("Identities by number of pictures", _bins(sizes), x_label="training pictures", what="identities")


def _bins(sizes: dict[int, int]) -> list[tuple[str, int]]:
    low, high = min(sizes), max(sizes)
    if high - low < MAX_SINGLE_BARS:
        return [(str(size), sizes.get(size, 0)) for size in range(low, high + 1)]
    # Long tails are common, so that each bin is twice as wide as the one before.
    bins: dict[int, int] = dict.fromkeys(range(low.bit_length(), high.bit_length() + 1), 0)
    for size, count in sizes.items():
        bins[size.bit_length()] += count
    return [
        (f"{1 << power >> 1}-{(1 << power) - 1}" if power > 1 else str(power), count) for power, count in bins.items()
    ]
