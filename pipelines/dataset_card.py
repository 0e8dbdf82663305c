"""The dataset card: the README.md of a dataset, from which Hugging Face `datasets` takes splits and feature types.

Without it `load_dataset` would show the column `image` as bytes: its own Image feature is stored as a struct of bytes
and a path, and every other reader is better off with the plain column. See
https://huggingface.co/docs/hub/datasets-cards for the keys.
"""

from collections.abc import Mapping

import yaml

from pipelines.records import DATASET, HUGGING_FACE_TYPES

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
| `image_id` | sha256 of the picture's bytes as found |
| `label` | dense number of the identity within its split |
| `image` | the encoded picture |
| `digest` | CRC-32 of the stored bytes |

```python
from datasets import load_dataset

load_dataset("PATH_OF_THIS_FOLDER")["train"][0]["image"]  # a PIL image
```
"""


def dataset_card(fingerprint: str, splits: Mapping[str, Mapping[str, int]]) -> str:
    """The text of the card.

    Args:
        splits: split -> its `rows` and `classes`, as the dataset's manifest has them.
    """
    features = [{"name": name, "dtype": HUGGING_FACE_TYPES[name]} for name in DATASET.names]
    files = [{"split": split, "path": f"{split}/*.parquet"} for split in splits]
    head = {
        "configs": [{"config_name": "default", "data_files": files}],
        "dataset_info": {"features": features},
    }
    rows = "\n".join(f"| {name} | {side['rows']:,} | {side['classes']:,} |" for name, side in splits.items())
    text = _TEXT.format(fingerprint=fingerprint, rows=rows)
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n{text}"
