"""The peers, each in the format and with the settings that its own documentation recommends.

Run by a Python that has them. Shuffled, as many workers as are asked for, kept between epochs. SPDL and LitData decode
by themselves (SPDL also without its own decoder). The others are given Pillow, as their documentation does, or OpenCV
(`--decoder cv2`), which is faster; Streaming always hands out what Pillow has opened. Where a peer shuffles through a
buffer, it holds 1,000 pictures.
"""

import itertools
import os
import random
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).parents[1]))

from feeds import clock
from feeds.clock import Job, Stream
from feeds.square import Square

SHUFFLED_ROWS = 1000
SHARDS = 8


def main() -> None:
    cv2.setNumThreads(1)
    clock.main(SYSTEMS, WRITERS)


def files(job: Job) -> list[Path]:
    return sorted((job.folder / "jpegs").iterdir())


def epochs(loader: Iterable[Any]) -> Stream:
    """The batches of (B, S, S, 3) pixels that a loader gives, epoch after epoch; full ones only."""
    for _ in itertools.count():
        for batch in loader:
            pixels = batch if torch.is_tensor(batch) else batch[0]
            yield pixels.permute(0, 3, 1, 2)


# torchdata: a map-style dataset of files


class Files(Dataset):
    def __init__(self, job: Job) -> None:
        self.paths = [str(path) for path in files(job)]
        self.square = Square(job)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> torch.Tensor:
        with open(self.paths[number], "rb") as stream:
            return self.square(stream.read())


def torchdata(job: Job) -> Stream:
    from torchdata.stateful_dataloader import StatefulDataLoader

    return epochs(StatefulDataLoader(Files(job), shuffle=True, **worker_settings(job)))


def worker_settings(job: Job) -> dict[str, Any]:
    settings = {"persistent_workers": True, "drop_last": True}
    return settings | {"batch_size": job.batch_size, "num_workers": job.workers}


# Grain: ArrayRecord files, one picture in each group, as its random access wants it


def write_grain(job: Job) -> None:
    from array_record.python.array_record_module import ArrayRecordWriter

    (job.folder / "grain").mkdir()
    for shard in range(SHARDS):
        writer = ArrayRecordWriter(str(job.folder / "grain" / f"{shard:02d}.array_record"), "group_size:1")
        for number, path in list(enumerate(files(job)))[shard::SHARDS]:
            writer.write(struct.pack("<q", number % 1000) + path.read_bytes())
        writer.close()


def grain(job: Job, *, processes: bool) -> Stream:
    import grain.python as pygrain

    source = pygrain.ArrayRecordDataSource([str(path) for path in sorted((job.folder / "grain").iterdir())])
    square = Square(job)
    pictures = pygrain.MapDataset.source(source).shuffle(seed=0).repeat().map(lambda data: square.array(data[8:]))
    options = pygrain.ReadOptions() if processes else pygrain.ReadOptions(num_threads=job.workers)
    batches = pictures.to_iter_dataset(options).batch(job.batch_size, drop_remainder=True)
    if processes:
        batches = batches.mp_prefetch(pygrain.MultiprocessingOptions(num_workers=job.workers))
    return (torch.from_numpy(batch).permute(0, 3, 1, 2) for batch in batches)


# SPDL: files, decoded by threads; by FFmpeg, which it wants to find on the machine, or by what the others are given


def spdl(job: Job) -> Stream:
    import spdl.io

    shrink = f",scale={job.side_px}:{job.side_px}" if job.side_px != 112 else ""
    graph = f"crop=min(iw\\,ih):min(iw\\,ih){shrink},format=pix_fmts=rgb24"

    def load(paths: list[str]) -> torch.Tensor:
        buffer = spdl.io.load_image_batch(paths, width=None, height=None, pix_fmt=None, filter_desc=graph)
        return spdl.io.to_torch(buffer)

    # Tells what is missing, where the pipeline would drop every batch and wait for ever.
    spdl.io.demux_image(str(files(job)[0]))
    return spdl_pipeline(job, load)


def spdl_threads(job: Job) -> Stream:
    square = Square(job)
    return spdl_pipeline(job, lambda paths: torch.stack([square(Path(path).read_bytes()) for path in paths]))


def spdl_pipeline(job: Job, load: Callable[[list[str]], torch.Tensor]) -> Stream:
    from spdl.pipeline import PipelineBuilder

    builder = PipelineBuilder().add_source(shuffled_paths(job)).pipe(load, concurrency=job.workers).add_sink(3)
    pipeline = builder.build(num_threads=job.workers)
    with pipeline.auto_stop():
        for pixels in pipeline.get_iterator():
            yield pixels.permute(0, 3, 1, 2)


def shuffled_paths(job: Job) -> Iterator[list[str]]:
    paths = [str(path) for path in files(job)]
    for _ in itertools.count():
        random.shuffle(paths)
        for start in range(0, len(paths) - job.batch_size + 1, job.batch_size):
            yield paths[start : start + job.batch_size]


# LitData: chunks of 64 MB, decoded by its own serializer


def litdata_sample(path: str) -> dict[str, Any]:
    return {"image": Image.open(path), "label": int(Path(path).stem) % 1000}


def write_litdata(job: Job) -> None:
    from litdata import optimize

    paths = [str(path) for path in files(job)]
    optimize(litdata_sample, paths, output_dir=str(job.folder / "litdata"), num_workers=1, chunk_bytes="64MB")


def litdata(job: Job) -> Stream:
    from litdata import StreamingDataLoader, StreamingDataset
    from torchvision.transforms.v2 import functional

    side = job.side_px

    class Squares(StreamingDataset):
        def __getitem__(self, index: Any) -> torch.Tensor:
            picture = super().__getitem__(index)["image"]
            if picture.shape[1:] == (side, side):
                return picture
            return functional.resize(functional.center_crop(picture, [min(picture.shape[1:])] * 2), [side, side])

    dataset = Squares(str(job.folder / "litdata"), shuffle=True, drop_last=True)
    loader = StreamingDataLoader(dataset, **worker_settings(job))
    for _ in itertools.count():
        yield from (batch for batch in loader if len(batch) == job.batch_size)


# MosaicML Streaming: MDS shards of its default size


def write_streaming(job: Job) -> None:
    from streaming import MDSWriter

    with MDSWriter(out=str(job.folder / "streaming"), columns={"image": "jpeg", "label": "int"}) as writer:
        for number, path in enumerate(files(job)):
            writer.write({"image": Image.open(path), "label": number % 1000})


def streaming(job: Job) -> Stream:
    from streaming import StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    clean_stale_shared_memory()
    square = Square(job)

    class Squares(StreamingDataset):
        def __getitem__(self, at: Any) -> torch.Tensor:
            return square(super().__getitem__(at)["image"])

    dataset = Squares(local=str(job.folder / "streaming"), shuffle=True, batch_size=job.batch_size)
    return epochs(DataLoader(dataset, **worker_settings(job)))


# WebDataset: tar files of 1,000 pictures


def write_webdataset(job: Job) -> None:
    import webdataset

    (job.folder / "webdataset").mkdir()
    most = min(1000, job.images // SHARDS)
    with webdataset.ShardWriter(str(job.folder / "webdataset" / "%06d.tar"), maxcount=most, verbose=0) as writer:
        for number, path in enumerate(files(job)):
            writer.write({"__key__": path.stem, "jpg": path.read_bytes(), "cls": number % 1000})


def webdataset(job: Job) -> Stream:
    import webdataset as wds

    shards = [str(path) for path in sorted((job.folder / "webdataset").iterdir())]
    dataset = wds.WebDataset(shards, shardshuffle=len(shards)).shuffle(SHUFFLED_ROWS)
    if job.decoder == "pil":
        dataset = dataset.decode("pil")
    dataset = dataset.to_tuple("jpg").map_tuple(Square(job)).batched(job.batch_size, partial=False)
    return epochs(wds.WebLoader(dataset, batch_size=None, num_workers=job.workers, persistent_workers=True))


# Hugging Face: Parquet files with the feature Image


def write_huggingface(job: Job) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import Features, Value
    from datasets import Image as Picture

    schema = Features({"image": Picture(), "label": Value("int64")}).arrow_schema
    (job.folder / "huggingface").mkdir()
    for shard in range(SHARDS):
        rows = [
            {"image": {"bytes": path.read_bytes(), "path": path.name}, "label": number % 1000}
            for number, path in list(enumerate(files(job)))[shard::SHARDS]
        ]
        table = pa.Table.from_pylist(rows, schema)
        # With the row groups that the library itself writes where there are pictures.
        pq.write_table(table, job.folder / "huggingface" / f"{shard}.parquet", row_group_size=100)


def huggingface(job: Job, *, streamed: bool) -> Stream:
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(job.folder / "huggingface-cache")}
    from datasets import Image as Picture
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    shards = [str(path) for path in sorted((job.folder / "huggingface").iterdir())]
    rows = load_dataset("parquet", data_files=shards, split="train", streaming=streamed).select_columns(["image"])
    square = Square(job)
    if job.decoder == "cv2":
        rows = rows.cast_column("image", Picture(decode=False))

    def pixels(picture: Any) -> torch.Tensor:
        return square(picture["bytes"] if job.decoder == "cv2" else picture)

    if streamed:
        rows = rows.shuffle(seed=0, buffer_size=SHUFFLED_ROWS)
        return epochs(DataLoader(rows, collate_fn=partial(stacked, pixels), **worker_settings(job)))
    return epochs(DataLoader(rows, shuffle=True, collate_fn=partial(stacked, pixels), **worker_settings(job)))


def stacked(pixels: Any, rows: list[dict[str, Any]]) -> torch.Tensor:
    return torch.stack([pixels(row["image"]) for row in rows])


SYSTEMS = {
    "grain-threads": partial(grain, processes=False),
    "grain-processes": partial(grain, processes=True),
    "spdl": spdl,
    "spdl-threads": spdl_threads,
    "torchdata": torchdata,
    "litdata": litdata,
    "streaming": streaming,
    "webdataset": webdataset,
    "huggingface": partial(huggingface, streamed=False),
    "huggingface-streamed": partial(huggingface, streamed=True),
}
# Which format each wants; the others read the files as they are.
WRITERS = {
    "grain-threads": write_grain,
    "litdata": write_litdata,
    "streaming": write_streaming,
    "webdataset": write_webdataset,
    "huggingface": write_huggingface,
}

if __name__ == "__main__":
    main()
