"""The dataset card: the README.md of a dataset, from which Hugging Face `datasets` takes splits and feature types.

Without it `load_dataset` would show the column `image` as bytes: its own Image feature is stored as a struct of bytes
and a path, and every other reader is better off with the plain column. See
https://huggingface.co/docs/hub/datasets-cards for the keys.
"""

from collections.abc import Mapping, Sequence

import yaml

from pipelines.columns import DatasetColumn, card_feature

CARD_NAME = "README.md"

_TEXT = """
# Dataset {fingerprint}

Written by Ringmill. `manifest.json` lists every file with its digest, the settings and the parents of this dataset;
`labels.parquet` says which identity has which label.

| split | images | classes |
|---|--:|--:|
{rows}

| column | |
|---|---|
{columns}

```python
from datasets import load_dataset

load_dataset("PATH_OF_THIS_FOLDER")["train"][0]["image"]  # a PIL image
```
"""


def dataset_card(fingerprint: str, splits: Mapping[str, Mapping[str, int]], columns: Sequence[DatasetColumn]) -> str:
    """The text of the card.

    Args:
        splits: split -> its `rows` and `classes`, as the dataset's manifest has them.
        columns: of the dataset, in its order.
    """
    features = [card_feature(column) for column in columns]
    files = [{"split": split, "path": f"{split}/*.parquet"} for split in splits]
    head = {
        "configs": [{"config_name": "default", "data_files": files}],
        "dataset_info": {"features": features},
    }
    rows = "\n".join(f"| {name} | {side['rows']:,} | {side['classes']:,} |" for name, side in splits.items())
    meanings = "\n".join(f"| `{column.name}` | {column.meaning} |" for column in columns)
    text = _TEXT.format(fingerprint=fingerprint, rows=rows, columns=meanings)
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n{text}"
