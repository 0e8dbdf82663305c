"""Small datasets, drawn pictures in shards of chosen row groups: on disk, and in a bucket behind a bad network."""

import contextlib
import gc
import hashlib
import itertools
import logging
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer
from pyarrow import fs

from pipelines import manifest
from pipelines.columns import DATASET
from training.feed.settings import RemoteSettings

SIDE_PX = 16

WriteDataset = Callable[..., "Dataset"]


@dataclass(frozen=True)
class Dataset:
    """A written dataset and what went into it, in file order."""

    folder: Path
    image_ids: list[str]
    labels: dict[str, int]
    images: dict[str, bytes]

    def add_labels(self, table: pa.Table) -> None:
        """Write the table of labels, and list it in the manifest."""
        path = self.folder / "labels.parquet"
        pq.write_table(table, path)
        write_manifest(self.folder, (*manifest.read(self.folder).files, manifest.describe(self.folder, path)))


@pytest.fixture(scope="module", autouse=True)
def no_feeds_of_other_tests() -> None:
    """Let go of feeds that tests before these forgot: here threads are counted."""
    gc.collect()


@pytest.fixture
def write_dataset(tmp_path: Path) -> WriteDataset:
    def write(layout: Sequence[Sequence[int]], *, side_px: int = SIDE_PX) -> Dataset:
        """One shard for each sequence of row-group sizes."""
        pictures = [drawn(number, side_px) for number in range(sum(map(sum, layout)))]
        ids = [hashlib.sha256(data).hexdigest() for data in pictures]
        folder = tmp_path / "dataset"
        (folder / "train").mkdir(parents=True)
        files, start = [], 0
        for number, groups in enumerate(layout):
            rows = range(start, start + sum(groups))
            path = folder / "train" / f"{number:05d}.parquet"
            _write_shard(path, groups, [(ids[row], row, pictures[row]) for row in rows])
            row_groups = tuple(manifest.RowGroup(rows=count, num_bytes=0) for count in groups)
            files.append(manifest.describe(folder, path, rows=len(rows), row_groups=row_groups))
            start = rows.stop
        write_manifest(folder, tuple(files))
        labels = {image_id: row for row, image_id in enumerate(ids)}
        return Dataset(folder, ids, labels, dict(zip(ids, pictures, strict=True)))

    return write


def drawn(number: int, side_px: int) -> bytes:
    """A JPEG that no other number gives."""
    noise = np.random.default_rng(number).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def write_manifest(folder: Path, files: tuple[manifest.File, ...]) -> None:
    found = manifest.Manifest(
        kind="dataset", fingerprint="0" * 16, parents={}, settings={}, code_version="", counts={}, files=files
    )
    manifest.write(folder, found)


def _write_shard(path: Path, groups: Sequence[int], rows: list[tuple[str, int, bytes]]) -> None:
    with pq.ParquetWriter(path, DATASET, compression="none", use_dictionary=False) as writer:
        start = 0
        for count in groups:
            part = rows[start : start + count]
            columns = [
                [image_id for image_id, _, _ in part],
                [label for _, label, _ in part],
                [data for _, _, data in part],
                [zlib.crc32(data) for _, _, data in part],
            ]
            writer.write_table(pa.table(columns, schema=DATASET), row_group_size=max(1, count))
            start += count


@dataclass(frozen=True)
class Remote:
    """A bucket behind a proxy that the test can put out of order."""

    proxy: "Proxy"
    bucket: str
    backdoor: fs.S3FileSystem  # past the proxy

    def settings(self, **options: Any) -> RemoteSettings:
        return RemoteSettings(
            **{
                "s3_endpoint": f"http://127.0.0.1:{self.proxy.port}",
                "s3_region": "us-east-1",
                "request_timeout_seconds": 1,
                "first_wait_seconds": 0.01,
            }
            | options
        )

    def upload(self, folder: Path) -> str:
        """Copy a dataset into the bucket; returns its address."""
        for path in folder.rglob("*"):
            if path.is_file():
                with self.backdoor.open_output_stream(f"{self.bucket}/set/{path.relative_to(folder)}") as stream:
                    stream.write(path.read_bytes())
        return f"s3://{self.bucket}/set"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[int]:
    """The port of a server that speaks S3."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture
def remote(s3_server: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    backdoor = fs.S3FileSystem(
        endpoint_override=f"127.0.0.1:{s3_server}", scheme="http", region="us-east-1", allow_bucket_creation=True
    )
    bucket = f"faces-{next(_numbers)}"
    backdoor.create_dir(bucket)
    with Proxy(s3_server) as proxy:
        yield Remote(proxy, bucket, backdoor)


_numbers = itertools.count()


class Proxy:
    """Relays HTTP requests, one on each connection, and does to some what a network may do.

    `faults` is asked with the first line of each request: "error" answers 500, "refuse" 403, "hang" answers nothing,
    "reset" breaks the connection, "break" does so in the middle of the answer, "slow" answers after a quarter of a
    second, and None leaves the request alone.
    """

    def __init__(self, target: int) -> None:
        self.faults: Callable[[str], str | None] = lambda request: None
        self.requests: list[str] = []
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._closed = threading.Event()

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                if not (part := client.recv(65536)):
                    return
                head += part
            request = head.partition(b"\r\n")[0].decode()
            self.requests.append(request)
            fault = self.faults(request)
            if fault == "hang":
                self._closed.wait(60.0)
            elif fault in ("error", "refuse"):
                status = b"500 Trouble" if fault == "error" else b"403 Forbidden"
                client.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            elif fault == "reset":
                _reset(client)
            else:
                self._relay(client, head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1), fault)

    def _relay(self, client: socket.socket, head: bytes, fault: str | None) -> None:
        with socket.create_connection(("127.0.0.1", self._target)) as server:
            server.sendall(head)
            answer = b"".join(iter(lambda: server.recv(65536), b""))
        if fault == "slow":
            time.sleep(0.25)
        if fault == "break":
            client.sendall(answer[: len(answer) - 100])
            _reset(client)
        else:
            client.sendall(answer)


def _reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
