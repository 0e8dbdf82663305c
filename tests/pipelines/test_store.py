"""The store over planted lineages."""

import shutil
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import store as store_module
from pipelines.locks import exclusive
from pipelines.manifest import Manifest, Parent, describe, write
from pipelines.parquet import write_table
from pipelines.settings import UserError
from pipelines.store import Artefact, Store

# records -> decisions -> dataset -> two models -> an evaluation of the second.
RECORDS, OTHER = Artefact("records", "r1"), Artefact("records", "r2")
DECISIONS, DATASET = Artefact("decisions", "d1"), Artefact("dataset", "s1")
TRAINED, PRUNED, JUDGED = Artefact("model", "m1"), Artefact("model", "m0"), Artefact("evaluation", "e1")
PARENTS = {
    RECORDS: [],
    OTHER: [],
    DECISIONS: [RECORDS],
    DATASET: [RECORDS, DECISIONS],
    TRAINED: [DATASET],
    PRUNED: [TRAINED],
    JUDGED: [DATASET, PRUNED],
}


def plant(store: Store, artefact: Artefact, parents: list[Artefact]) -> None:
    folder = store.folder(artefact.kind, artefact.fingerprint)
    folder.mkdir(parents=True)
    (folder / "rows.bin").write_bytes(b"rows")
    made_of = {f"read {at}": Parent(kind=one.kind, fingerprint=one.fingerprint) for at, one in enumerate(parents)}
    write(
        folder,
        Manifest(
            kind=artefact.kind,
            fingerprint=artefact.fingerprint,
            parents=made_of,
            settings={},
            code_version="",
            counts={},
            files=(describe(folder, folder / "rows.bin"),),
        ),
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    for artefact, parents in PARENTS.items():
        plant(store, artefact, parents)
    return store


def test_an_artefact_lies_under_its_kind_and_fingerprint(tmp_path: Path) -> None:
    assert Store(tmp_path).folder("model", "m1") == tmp_path / "model" / "m1"


def test_what_is_not_finished_is_no_artefact(store: Store) -> None:
    (store.folder("model", "half") / "checkpoint-3").mkdir(parents=True)
    (store.root / "model" / ".m1.lock").touch()
    assert store.list("model") == [PRUNED, TRAINED]
    assert store.list() == sorted(PARENTS)
    assert not store.is_done("model", "half")
    assert store.is_done("model", "m1")


def test_an_empty_store_holds_nothing(tmp_path: Path) -> None:
    assert Store(tmp_path / "nowhere").list() == []


def test_parents_are_those_of_the_manifest(store: Store) -> None:
    for artefact, parents in PARENTS.items():
        assert store.parents(artefact) == sorted(parents)
    assert store.manifest("evaluation", "e1").parents["read 1"].kind == "model"


def test_descendants_are_all_that_would_lack_their_origin_each_after_its_own(store: Store) -> None:
    assert store.descendants(RECORDS) == [DECISIONS, DATASET, TRAINED, PRUNED, JUDGED]
    assert store.descendants(DATASET) == [TRAINED, PRUNED, JUDGED]
    assert store.descendants(OTHER) == store.descendants(JUDGED) == []


def test_a_parent_that_is_gone_is_named_all_the_same(store: Store) -> None:
    store.remove(OTHER)
    plant(store, Artefact("pairs", "p1"), [OTHER])
    assert store.parents(Artefact("pairs", "p1")) == [OTHER]
    assert store.descendants(OTHER) == [Artefact("pairs", "p1")]


def test_what_something_was_made_of_stays_unless_that_goes_too(store: Store) -> None:
    with pytest.raises(UserError, match=r"^model/m1 in store=.* is what model/m0, evaluation/e1 was made from; remove"):
        store.remove(TRAINED)
    assert store.list() == sorted(PARENTS)
    assert store.remove(TRAINED, with_descendants=True) == [JUDGED, PRUNED, TRAINED]
    assert store.list() == sorted([RECORDS, OTHER, DECISIONS, DATASET])
    assert not store.folder("model", "m1").exists()


def test_a_leaf_is_removed_alone(store: Store) -> None:
    assert store.remove(JUDGED) == [JUDGED]
    assert store.list() == sorted(PARENTS.keys() - {JUDGED})


def test_what_is_not_there_cannot_be_removed(store: Store) -> None:
    with pytest.raises(UserError, match="model/x is not in store="):
        store.remove(Artefact("model", "x"))


def test_what_is_being_built_is_not_removed(store: Store) -> None:
    done = threading.Event()
    held = threading.Event()

    def build() -> None:
        with exclusive(store.folder("evaluation", "e1")):
            held.set()
            done.wait(30)

    builder = threading.Thread(target=build)
    builder.start()
    held.wait(30)
    with pytest.raises(UserError, match="under work by another process"):
        store.remove(JUDGED)
    done.set()
    builder.join()
    assert store.is_done("evaluation", "e1")


def test_a_removal_that_is_interrupted_leaves_no_artefact(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.remove(JUDGED)
    assert store.folder("evaluation", "e1").is_dir()
    assert not store.is_done("evaluation", "e1")


def test_an_artefact_to_be_read_is_compared_first(store: Store) -> None:
    assert store.verified("model", "m1").fingerprint == "m1"
    (store.folder("model", "m1") / "rows.bin").write_bytes(b"rowS")
    with pytest.raises(UserError, match=r"model/m1/rows\.bin is missing or was altered .*; remove .*model/m1, and the"):
        store.verified("model", "m1")


def test_an_artefact_in_the_place_of_another_is_not_taken_for_it(store: Store) -> None:
    shutil.rmtree(store.folder("model", "m1"))
    shutil.copytree(store.folder("model", "m0"), store.folder("model", "m1"))
    with pytest.raises(UserError, match=r"model/m1 holds model/m0; remove it"):
        store.verified("model", "m1")


def test_a_large_table_is_not_read_whole_before_it_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_WHOLE_BYTES", 100)
    folder = store.folder("pairs", "p")
    folder.mkdir(parents=True)
    file = write_table(pa.table({"name": ["a"] * 1000}), folder, "rows/0")
    write(
        folder,
        Manifest(kind="pairs", fingerprint="p", parents={}, settings={}, code_version="", counts={}, files=(file,)),
    )
    content = bytearray((folder / file.path).read_bytes())
    content[-int.from_bytes(content[-8:-4], "little") - 9] ^= 1  # the end of the last page
    (folder / file.path).write_bytes(content)
    store.verified("pairs", "p")
    with pytest.raises(OSError, match="CRC checksum verification failed"):
        pq.read_table(folder / file.path, page_checksum_verification=True)
    (folder / file.path).write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"rows/0\.parquet is missing or was altered"):
        store.verified("pairs", "p")
