"""Sources of every kind with the faults of strangers' archives, lists and labels, each with its planted accounting."""

import csv
import io
import json
import struct
import tarfile
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from .case import draw

Person = str | None


@dataclass
class Source:
    """A source on the disk, and the account that ingestion must give of it."""

    settings: list[str]
    rows: dict[str, tuple[Person, str]] = field(default_factory=dict)  # end of `source` -> identity, decode
    num_passed_over: int = 0
    said: list[str] = field(default_factory=list)  # parts of what the run prints


def tars(folder: Path, sample: Path) -> Source:
    """Links, sparse and foreign members, separators of Windows, an archive without an end, compressed ones."""
    made = Source(["source=tar", f"source.path={folder}"])
    with tarfile.open(folder / "people.tar", "w") as archive:
        for name, data in _people(sample):
            _add(archive, name, data)
            made.rows[f"people.tar!/{name}"] = (name.partition("/")[0], "ok")
    with tarfile.open(folder / "odd.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        _add(archive, "ann/1.png", _png("ann 1"))
        _add(archive, "bob\\2.png", _png("bob 2"))
        _link(archive, "ann/hard.png", tarfile.LNKTYPE, "ann/1.png")
        _link(archive, "cid/soft.png", tarfile.SYMTYPE, "../ann/1.png")
        _link(archive, "cid/dead.png", tarfile.SYMTYPE, "nothing.png")
        _link(archive, "cid/out.png", tarfile.SYMTYPE, "../../../etc/hostname")
        _link(archive, "cid/loop.png", tarfile.SYMTYPE, "loop.png")
        _link(archive, "cid/pipe", tarfile.FIFOTYPE, "")
        _link(archive, "cid/device", tarfile.CHRTYPE, "")
    for name, person in (("ann/1.png", "ann"), ("ann/hard.png", "ann"), ("cid/soft.png", "cid"), ("bob\\2.png", "bob")):
        made.rows[f"odd.tar!/{name}"] = (person, "ok")
    made.num_passed_over += 5
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        _add(archive, "eve/1.png", _png("eve 1"))
        end_of_first = archive.offset
        _add(archive, "eve/2.png", _png("eve 2"))
    (folder / "cut.tar").write_bytes(whole.getvalue()[:end_of_first])
    made.rows["cut.tar!/eve/1.png"] = ("eve", "ok")
    made.said.append("cut.tar")
    (folder / "LOUD.TAR").write_bytes(whole.getvalue())
    made.rows |= {f"LOUD.TAR!/eve/{number}.png": ("eve", "ok") for number in (1, 2)}
    for extension in ("tar.gz", "tgz", "tar.zst"):
        (folder / f"packed.{extension}").write_bytes(b"\x1f\x8b" + bytes(100))
        made.num_passed_over += 1
    made.said.append("passed over")
    return made


def shards(folder: Path, sample: Path) -> Source:
    """WebDataset shards with macOS' companions of files, and with the members of a sample far from one another."""
    made = Source(["source=webdataset", f"source.path={folder}"])
    people = list(_people(sample))
    with tarfile.open(folder / "a.tar", "w") as archive:
        for number, (name, data) in enumerate(people):
            for extension, content in (("jpg", data), ("cls", name.partition("/")[0].encode())):
                _add(archive, f"._{number:05d}.{extension}", b"\0\5\x16\7" + bytes(60))
                _add(archive, f"{number:05d}.{extension}", content)
                made.num_passed_over += 1
            made.rows[f"a.tar!/{number:05d}.jpg"] = (name.partition("/")[0], "ok")
    odd = [("w", "ann"), ("x", "-1"), ("y", " "), ("z", "7.0")]
    with tarfile.open(folder / "unsorted.tar", "w") as archive:
        for key, _ in odd:
            _add(archive, f"{key}.png", _png(f"sample {key}"))
        for key, label in odd:
            _add(archive, f"{key}.cls", label.encode())
    identities = {"w": "ann", "x": None, "y": None, "z": "7"}
    made.rows |= {f"unsorted.tar!/{key}.png": (identity, "ok") for key, identity in identities.items()}
    return made


def lists(folder: Path, sample: Path) -> Source:
    """A list in UTF-16 with blanks, surplus columns, a name in two forms of Unicode and one picture under two names."""
    made = Source(["source=list", f"source.path={folder / 'faces.csv'}"])
    composed, decomposed = (unicodedata.normalize(form, "José") for form in ("NFC", "NFD"))
    lines = ["path, identity"]
    for name, data in _people(sample):
        _write(folder / name, data)
        lines.append(f"{name}, {name.partition('/')[0]} ")
        made.rows[name] = (name.partition("/")[0], "ok")
    for number, person in enumerate((composed, decomposed)):
        _write(folder / f"jose{number}.png", _png(f"jose {number}"))
        lines.append(f"jose{number}.png,{person}")
        made.rows[f"jose{number}.png"] = (composed, "ok")
    _write(folder / "smith.png", _png("smith"))
    lines += ["smith.png,Smith, Ann", '"quoted.png","Smith, Ann"', "gone.png,ann"]
    _write(folder / "quoted.png", _png("quoted"))
    made.rows |= {"quoted.png": ("Smith, Ann", "ok"), "gone.png": ("ann", "unreadable")}
    made.said += [f"line {len(lines) - 2}"]
    made.num_passed_over = 1
    (folder / "faces.csv").write_bytes("\r\n".join(lines).encode("utf-16"))
    return made


def tables(folder: Path, sample: Path) -> Source:
    """Parquet files with labels that are missing in every way, and folders of partitions."""
    made = Source(["source=parquet", f"source.path={folder}"])
    by_person: dict[str, list[bytes]] = {}
    for name, data in _people(sample):
        by_person.setdefault(name.partition("/")[0], []).append(data)
    for person, images in by_person.items():
        path = folder / f"identity={person}" / "part-0.parquet"
        path.parent.mkdir()
        pq.write_table(pa.table({"image": images}), path)
        made.rows |= {f"identity={person}/part-0.parquet!/{row}": (person, "ok") for row in range(len(images))}
    columns = {
        "text": (pa.array(["", " ", None, " ann ", "1.0", "nan"]), [None, None, None, "ann", "1", "nan"]),
        "real": (pa.array([float("nan"), -1.0, None, 1.0, 2.0, 2.5]), [None, None, None, "1", "2", "2.5"]),
        "whole": (pa.array([-1, None, 0, 1, 2, 3]), [None, None, "0", "1", "2", "3"]),
    }
    for name, (labels, expected) in columns.items():
        images = [_png(f"{name} {row}") for row in range(len(labels))]
        pq.write_table(pa.table({"image": images, "label": labels}), folder / f"{name}.parquet")
        made.rows |= {f"{name}.parquet!/{row}": (person, "ok") for row, person in enumerate(expected)}
    feature = {"info": {"features": {"label": {"names": ["ann", "bob"], "_type": "ClassLabel"}}}}
    labelled = pa.table({"image": [_png(f"class {row}") for row in range(3)], "label": pa.array([-1, 0, 1])})
    pq.write_table(labelled.replace_schema_metadata({"huggingface": json.dumps(feature)}), folder / "class.parquet")
    made.rows |= {f"class.parquet!/{row}": (person, "ok") for row, person in enumerate((None, "ann", "bob"))}
    shouted = pa.table({"image": [_png("shouted")], "Identity": ["ann"]})
    pq.write_table(shouted, folder / "shouted.parquet")
    made.rows["shouted.parquet!/0"] = ("ann", "ok")
    return made


def recordio(folder: Path, sample: Path) -> Source:
    """MXNet records with labels that are missing; the end of the second file is cut off."""
    made = Source(["source=recordio", f"source.path={folder}", "ingest.max_broken_fraction=0.6"])
    people = sorted({name.partition("/")[0] for name, _ in _people(sample)})
    content = [(float(people.index(name.partition("/")[0])), data) for name, data in _people(sample)]
    content += [(label, _png(f"record {label}")) for label in (float("nan"), -1.0)]
    data = b""
    for label, image in content:
        identity = None if label != label or label < 0 else str(int(label))
        made.rows[f"whole.rec!/{len(data)}"] = (identity, "ok")
        data += _record(label, image)
    (folder / "whole.rec").write_bytes(data)
    first = _record(3.0, _png("record first"))
    (folder / "cut.rec").write_bytes(first + _record(3.0, _png("record second"))[:-200])
    made.rows["cut.rec!/0"] = ("3", "ok")
    made.said.append("cut.rec")
    return made


KINDS: dict[str, Callable[[Path, Path], Source]] = {
    "tars": tars,
    "shards": shards,
    "lists": lists,
    "tables": tables,
    "recordio": recordio,
}


def _people(sample: Path) -> Iterator[tuple[str, bytes]]:
    """The sound pictures of a drawn sample, named PERSON/FILE."""
    with (sample.parent / "truth.csv").open() as truth:
        for row in csv.DictReader(truth):
            if row["expected"] == "kept":
                yield row["path"], (sample / row["path"]).read_bytes()


def _png(seed: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(draw(seed)).save(buffer, "PNG")
    return buffer.getvalue()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def _link(archive: tarfile.TarFile, name: str, kind: bytes, target: str) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    archive.addfile(member)


def _record(label: float, image: bytes) -> bytes:
    """One RecordIO record: magic, length, then IRHeader (flag, label, id, id2) and the image, padded to four bytes."""
    body = struct.pack("<IfQQ", 0, label, 0, 0) + image
    return struct.pack("<II", 0xCED7230A, len(body)) + body + bytes(-len(body) % 4)
