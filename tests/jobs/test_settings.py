"""Composing, checking, freezing: every mistake is one line that names key, value and remedy."""

import logging
import math
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from jobs.places.settings import PLACES
from jobs.settings import CONF, PROJECT, RunSettings, compose, freeze, group_options, load, was_altered
from pipelines.settings import UserError
from pipelines.sources.settings import SOURCES, FolderSettings
from training.settings import RecipeSettings

Compose = Callable[..., Any]
SOURCE = FolderSettings(path="/nowhere")

CONF_FILES = {
    "config.yaml": "defaults: [bake: rye, place: local, _self_, system: null]\nname: loaf\nsalt:\n  grams: 3\n",
    "bake/rye.yaml": "flour: rye\noven:\n  degrees: 1e+2\n",
    "bake/wheat.yaml": "flour: wheat\nlabel: ${name}\n",
    "place/local.yaml": "hosts: localhost:2\n",
    "place/far.yaml": "kind: cluster\nmaster: yarn\nhosts: ???\n",
    "system/glazed.yaml": "# @package _global_\ndefaults:\n  - override /bake: wheat\nbake:\n  is_glazed: true\n",
}


@pytest.fixture
def compose_mill(river: object, tmp_path: Path) -> Compose:
    """Composes the settings of the river from a conf/ of its own."""
    conf = tmp_path / "conf"
    for name, text in CONF_FILES.items():
        (conf / name).parent.mkdir(parents=True, exist_ok=True)
        (conf / name).write_text(text)

    from mill_settings import BakerySettings

    def run(*overrides: str) -> Any:
        return compose([*overrides, f"runs={tmp_path / 'runs'}"], conf, BakerySettings)

    return run


def test_relative_paths_are_those_of_the_folder_where_the_settings_are_composed(
    compose_mill: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    settings = compose_mill(
        "bake.path=oven.txt",
        "source.path=faces/*.tar",
        "source.kind=tar",
        "source.identity_list=names.csv",
        "evaluate.sets.lfw.pairs=bin",
        "evaluate.sets.lfw.path=lfw.bin",
        "reference.sources=[{kind: pack, path: cfp.bin}]",
        "feed.location=s3://bucket/set",
        "feed.cache_dir=cache",
    )
    here = tmp_path / "work"
    paths = (settings.store, settings.bake.path, settings.source.identity_list, settings.evaluate.sets["lfw"].path)
    assert paths == (here / "store", here / "oven.txt", here / "names.csv", here / "lfw.bin")
    assert settings.source.path == f"{here}/faces/*.tar"
    assert settings.reference.sources[0].path == f"{here}/cfp.bin"
    assert (settings.feed.location, settings.feed.cache_dir) == ("s3://bucket/set", here / "cache")


def test_groups_and_values_come_together(compose_mill: Compose) -> None:
    settings = compose_mill("bake=wheat", "bake.oven.degrees=180", "seed=7")
    assert settings.seed == 7
    assert settings.salt.grams == 3
    assert settings.bake.flour == "wheat"
    assert settings.bake.oven.model_dump() == {"degrees": 180.0, "minutes": 40}
    assert settings.bake.label == "loaf"


def test_a_system_overrides_groups_and_the_command_line_overrides_the_system(compose_mill: Compose) -> None:
    assert compose_mill("system=glazed").bake.flour == "wheat"
    assert compose_mill("system=glazed", "bake.is_glazed=false").bake.is_glazed is False


@pytest.mark.parametrize(("place", "value"), [("local", "local[2]"), ("far", "spark://a:7077")])
def test_values_may_hold_what_hydras_grammar_forbids(compose_mill: Compose, place: str, value: str) -> None:
    settings = compose_mill(
        f"place={place}", f"place.master={value}", "place.hosts=a:4,b:4", "bake.path=/my photos/a=b, c"
    )
    assert (settings.place.master, settings.place.hosts) == (value, "a:4,b:4")
    assert settings.bake.path == Path("/my photos/a=b, c")


def test_numbers_and_lists_are_read_as_such(compose_mill: Compose) -> None:
    bake = compose_mill("bake.weights=[1e-3, 2]", "bake.oven.degrees=1e2").bake
    assert (bake.weights, bake.oven.degrees) == ((1e-3, 2.0), 100.0)


def test_composing_leaves_the_process_as_it_was(compose_mill: Compose) -> None:
    before = (os.getcwd(), logging.getLogger().handlers[:], logging.getLogger().level)
    compose_mill()
    assert (os.getcwd(), logging.getLogger().handlers[:], logging.getLogger().level) == before


MISTAKES = {
    "bake.flower=rye": r"there is no setting bake\.flower; did you mean bake\.flour\?",
    "bake.oven.minuts=3": r"there is no setting bake\.oven\.minuts; did you mean bake\.oven\.minutes\?",
    "bkae.flour=rye": r"there is no setting bkae; did you mean bake\?",
    "place.host=a:1": r"there is no setting place\.host; did you mean place\.hosts\?",
    "zzz=1": r"there is no setting zzz; known here: bake, code, curate, dedup, .*, store, strategy",
    "bake=spelt": r"bake=spelt: there is no conf/bake/spelt\.yaml; choose one of rye, wheat",
    "system=panini": r"system=panini: there is no conf/system/panini\.yaml; choose one of glazed",
    "bake.flour=spelt": r"bake\.flour=spelt: choose 'rye' or 'wheat'",
    "bake.oven.degrees=301": r"bake\.oven\.degrees=301: must be at most 300\.0",
    "bake.oven.degrees=hot": r"bake\.oven\.degrees=hot: must be a number",
    "bake.oven.degrees=inf": r"bake\.oven\.degrees=inf: must be a finite number",
    "bake.oven.minutes=1.5": r"bake\.oven\.minutes=1\.5: must be a whole number",
    "bake.oven.minutes=40min": r"bake\.oven\.minutes=40min: must be a whole number",
    "bake.is_glazed=true": r"bake: rye is not glazed: choose wheat, or set is_glazed to false",
    "bake.oven=3": r"bake\.oven=3: must be a group of settings, given key by key",
    "salt=null": r"salt\.grams is not given; add salt\.grams=VALUE",
    "place=far": r"place\.hosts is not given; add place\.hosts=VALUE",
    "seed=-1": r"seed=-1: must be at least 0",
    "name=../x": r"name=\.\./x: must match .*",
    f"name={'a' * 255}": r"name=a{255}: must have at most 200 characters",
    "place.hosts=here": r"place\.hosts=here: 'here' is not HOST:SLOTS; write such as localhost:2 or a:4,b:4",
    "place.driver_memory=2GB": r"place\.driver_memory=2GB: must match .*",
    "seed": r"'seed' is no setting; write key=value, such as recipe\.epochs=5",
    "bake.weights=[1": r"bake\.weights=\[1 cannot be read \(while parsing a flow sequence\); write a list as .*",
    "seed.x=1": r"seed: must be a whole number",
}


@pytest.mark.parametrize("override", MISTAKES)
def test_a_mistake_is_one_line_that_names_key_value_and_remedy(compose_mill: Compose, override: str) -> None:
    with pytest.raises(UserError, match=f"^{MISTAKES[override]}$") as raised:
        compose_mill(override)
    assert "\n" not in str(raised.value)


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    place=st.sampled_from([("local", "local[2]"), ("cluster", "yarn"), ("cluster", "spark://a:7077")]),
    path=names.filter(bool),
    conf=st.dictionaries(names, names, max_size=4),
    decay=st.floats(0, 1),
    kind=st.sampled_from(["folder", "parquet"]),
)
def test_run_yaml_loads_to_an_equal_model(
    seed: int, place: tuple[str, str], path: str, conf: dict[str, str], decay: float, kind: str
) -> None:
    settings = RunSettings(
        seed=seed,
        place=PLACES.validate({"kind": place[0], "master": place[1], "hosts": "a:1", "spark_conf": conf}),
        source=SOURCES.validate({"kind": kind, "path": path}),
        recipe=RecipeSettings.model_validate({"optimiser": {"name": "adamw", "weight_decay": decay}}),
        fingerprints={"a": "0123"},
    )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "run.yaml")
        freeze(settings, file)
        assert load(file) == settings


@pytest.mark.parametrize("value", [1e-5, 1e5, 0.1, 1 / 3, math.ulp(1.0), 1.0, 5e-324, 1.7976931348623157e308])
def test_floats_survive_run_yaml(tmp_path: Path, value: float) -> None:
    recipe = RecipeSettings.model_validate({"schedule": {"base_lr": value}})
    freeze(RunSettings(source=SOURCE, recipe=recipe), tmp_path / "run.yaml")
    again = load(tmp_path / "run.yaml").recipe.schedule.base_lr
    assert (again, type(again)) == (value, float)


@pytest.mark.parametrize(
    ("content", "line"),
    [("a: [1", "is no YAML"), ("3", "holds no settings"), ("seed: -1", "seed=-1: must be at least 0")],
)
def test_a_run_yaml_that_is_none_is_one_line(tmp_path: Path, content: str, line: str) -> None:
    (tmp_path / "run.yaml").write_text(content)
    with pytest.raises(UserError, match=line) as raised:
        load(tmp_path / "run.yaml")
    assert "\n" not in str(raised.value)


@pytest.fixture
def frozen(tmp_path: Path) -> Path:
    freeze(RunSettings(source=SOURCE, seed=3, runs=tmp_path), tmp_path / "run.yaml")
    return tmp_path / "run.yaml"


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "by hand": lambda content: content.replace(b"seed: 3", b"seed: 1"),
    "by one bit": lambda content: content.replace(b"seed: 3", b"seed: 2"),
    "by another store": lambda content: content.replace(b"store: store", b"store: stors"),
    "by a comment": lambda content: b"# mine\n" + content,
    "by a line behind the digest": lambda content: content + b"seed: 1\n",
    "of the digest": lambda content: content[:-2] + (b"1" if content[-2:-1] != b"1" else b"2") + b"\n",
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_run_yaml_that_was_changed_is_never_used(frozen: Path, how: str) -> None:
    assert not was_altered(frozen)
    changed = CHANGES[how](frozen.read_bytes())
    assert changed != frozen.read_bytes()
    frozen.write_bytes(changed)
    assert was_altered(frozen)
    with pytest.raises(UserError, match=r"run.yaml was changed after `ringmill run` froze it.*command line$") as raised:
        load(frozen)
    assert "\n" not in str(raised.value)


def test_every_bit_of_a_run_yaml_counts(frozen: Path) -> None:
    content = frozen.read_bytes()
    body = content.index(b"# sha256")
    for place in random.Random(0).sample(range(8 * body), 60):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        frozen.write_bytes(flipped)
        with pytest.raises(UserError):
            load(frozen)


def test_a_run_yaml_that_a_person_wrote_has_no_digest_and_is_taken(frozen: Path) -> None:
    frozen.write_bytes(frozen.read_bytes().partition(b"# sha256")[0].replace(b"seed: 3", b"seed: 1"))
    assert not was_altered(frozen)
    assert load(frozen).seed == 1


def test_a_missing_run_yaml_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load(tmp_path / "run.yaml")


def test_loading_settings_imports_neither_hydra_nor_torch_nor_pyspark(tmp_path: Path) -> None:
    freeze(RunSettings(source=SOURCE), tmp_path / "run.yaml")
    code = (
        "import sys; from pathlib import Path; from jobs.settings import load; load(Path(sys.argv[1]));"
        "print({'hydra', 'torch', 'pyspark', 'petastorm'} & sys.modules.keys())"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run.yaml")],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        check=True,
    )
    assert told.stdout.strip() == "set()"


@pytest.mark.slow
def test_every_choice_of_the_shipped_groups_composes(tmp_path: Path) -> None:
    required = {"place=cluster": ["place.master=spark://head:7077", "place.hosts=a:4,b:4"]}
    for group, options in group_options(CONF).items():
        for option in options:
            choice = f"{group}={option}"
            compose([choice, f"runs={tmp_path}", "source.path=images", *required.get(choice, ())])
