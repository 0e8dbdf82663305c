"""The command line: what is typed arrives to the letter, or is refused in one line that names the key."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from jobs.overrides import merge, read_overrides
from jobs.settings import CONF, RunSettings, compose, freeze, group_options, load
from pipelines.paths import tidy
from pipelines.settings import UserError

GROUPS = group_options(CONF)


def read(*overrides: str) -> dict[str, Any]:
    return read_overrides(overrides, GROUPS, RunSettings)[1]


# Of YAML, of Hydra, of OmegaConf, of globs, of addresses and of shells.
PIECES = [
    *(
        "#",
        " #",
        ": ",
        ":",
        "=",
        ",",
        ", ",
        ";",
        "{",
        "}",
        "{a,b}",
        "[",
        "]",
        "[1]",
        "(",
        ")",
        "*",
        "**",
        "?",
        "!x",
        "&a ",
    ),
    *(
        "$",
        "${a}",
        "${oc.env:HOME}",
        "$HOME",
        "\\",
        "\\n",
        "'",
        '"',
        "`",
        "~",
        "%",
        "%20",
        "@",
        "|",
        ">",
        "- ",
        "---",
        "...",
    ),
    *(
        "null",
        "true",
        "on",
        "no",
        "1e3",
        "1_000",
        "010",
        "0x10",
        "1:30",
        "2024-01-01",
        "???",
        ".inf",
        "nan",
        "<<",
        "?x",
    ),
    *(
        " ",
        "  ",
        "\u00a0",
        "\u00e9",
        "e\u0301",
        "\u65e5",
        "\u200b",
        "\ufeff",
        "\U0001f600",
        "\udcff",
        "a",
        "B",
        "b/c",
        ".",
        "..",
    ),
]
texts = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), min_size=1, max_size=5).map("".join)
TEXT_KEYS = ("place.spark_conf.spark.x", "source.image_column", "source.identity_pattern", "place.master", "name")
PATH_KEYS = ("source.path", "store", "embed.model", "source.identity_list", "feed.location")


def at(tree: dict[str, Any], key: str) -> Any:
    if key.startswith("place.spark_conf."):
        return tree["place"]["spark_conf"][key.removeprefix("place.spark_conf.")]
    value: Any = tree
    for part in key.split("."):
        value = value[part]
    return value


@given(value=texts, key=st.sampled_from(TEXT_KEYS + PATH_KEYS))
def test_a_text_arrives_to_the_letter_or_is_refused(value: str, key: str) -> None:
    try:
        arrived = at(read(f"{key}={value}"), key)
    except UserError:
        with pytest.raises(UserError, match=rf"\A{re.escape(key)}=[^\n]*\Z"):
            read(f"{key}={value}")
        return
    may_be_none = key in ("source.identity_pattern", "embed.model", "source.identity_list", "feed.location")
    assert arrived == (None if may_be_none and value in ("null", "~") else value)


@hypothesis_settings(max_examples=8, deadline=None)
@given(value=texts)
def test_a_text_survives_the_composition_and_the_run_yaml(value: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    given_keys = {"source.path": f"/{value}", "store": f"/s{value}", "place.spark_conf.spark.x": f"x{value}"}
    try:
        settings = compose([f"{key}={one}" for key, one in given_keys.items()])
    except UserError:
        return
    assert settings.source.path == tidy(f"/{value}")
    assert str(settings.store) == tidy(f"/s{value}")
    assert settings.place.spark_conf["spark.x"] == f"x{value}"
    path = tmp_path_factory.mktemp("run") / "run.yaml"
    freeze(settings, path)
    assert load(path) == settings


@pytest.mark.parametrize(
    "path",
    [
        "/faces #2",
        "/a: b",
        "/2024-01-01",
        "/data[1]",
        "/{a,b}",
        "/'a'",
        '/"a"',
        "/$HOME",
        "/${seed}",
        "/a=b",
        "/a,b",
        "/100%",
        "/a%20b",
        "/ends with a space ",
        "/a\\b",
        "/*",
        "/~",
        "/#",
        "/é",
    ],
)
def test_a_path_arrives_in_the_settings(path: str) -> None:
    assert compose([f"source.path={path}", f"store={path}"]).source.path == path
    assert compose([f"source.path={path}", f"store={path}"]).store == Path(path)


@pytest.mark.parametrize("name", ["1e3", "on", "2026_1", "0x10", "true", "010", "2024-01-01", "null", "1.5", "no"])
def test_a_name_that_looks_like_a_number_stays_a_text(name: str) -> None:
    settings = compose([f"name={name}", "source.path=/x", f"source.path=/{name}"])
    assert (settings.name, settings.source.path) == (name, f"/{name}")


REFUSED = {
    "source.path='/faces #2'": r"source\.path='/faces #2': the quotes around the value would be part of it; leave",
    'source.path="a"': r'source\.path="a": the quotes around',
    "source.path=a\nb": r"source\.path='a\\nb' contains the control character '\\n'; leave it out, or rename",
    "name=a\tb": r"name='a\\tb' contains the control character",
    "place.spark_conf.a=x\u2028y": r"place\.spark_conf\.a='x\\u2028y' contains the control character",
    "source.path=~/faces": r"source\.path=~/faces: a shell replaces ~ at .*; write .*, or source\.path=\./~",
    "store=~": r"store=~: a shell replaces ~",
    "store=s3://bucket/store": r"store=s3://bucket/store: an address, and store takes a path of this machine",
    "store=": r"store= names no path; give one$",
    "embed.model=": r"embed\.model= names no path; give one, or embed\.model=null$",
    f"store=/{'a' * 256}": r"store=/aaa.*\.\.\. has a part of 256 bytes; shorten it to 255",
    "curate.conflicts.trusted=[/faces #2]": r"curate\.conflicts\.trusted=\[/faces #2\] cannot be read",
    "curate.conflicts.trusted=[a, b] # c": r"curate\.conflicts\.trusted=.* cannot be read \(it has a comment",
    "curate.conflicts.trusted=[&a b]": r"curate\.conflicts\.trusted=.* cannot be read \(it has a comment, an anchor",
    "curate.conflicts.trusted=[!x b]": r"curate\.conflicts\.trusted=.* cannot be read \(it has a comment, an anchor",
    "curate.conflicts.trusted=[a: b": r"curate\.conflicts\.trusted=.* cannot be read",
    "reference.sources=[{kind: tar, kind: folder}]": r"reference\.sources=.* cannot be read \(a key of it is given",
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_cannot_be_taken_to_the_letter_is_refused_at_once(override: str) -> None:
    with pytest.raises(UserError, match=f"^{REFUSED[override]}") as raised:
        read(override)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("curate.conflicts.trusted=[/a, 2026_1, on, 1e3]", "curate.conflicts.trusted", ["/a", "2026_1", "on", "1e3"]),
        ("curate.conflicts.trusted=[\"/faces #2\", 'a: b']", "curate.conflicts.trusted", ["/faces #2", "a: b"]),
        ("place.spark_conf={spark.a: 1, b: x}", "place.spark_conf", {"spark.a": "1", "b": "x"}),
        ("embed.model=null", "embed.model", None),
        ("embed.model=./null", "embed.model", "./null"),
        ("source.identity_pattern=^([^/]+)_", "source.identity_pattern", "^([^/]+)_"),
        ("feed.where.labels=null", "feed.where.labels", None),
        ("recipe.epochs=1e1", "recipe.epochs", 10.0),
        ("curate.blur={min: 50, max: null}", "curate.blur", {"min": "50", "max": None}),
        ("evaluate.sets.lfw.path=a #1", "evaluate.sets.lfw.path", "a #1"),
        ("place.spark_conf.spark.x=", "place.spark_conf.spark.x", ""),
    ],
)
def test_lists_groups_and_null_are_read_and_their_leaves_are_texts(override: str, key: str, value: Any) -> None:
    assert at(read(override), key) == value


def test_numbers_are_those_that_were_typed() -> None:
    settings = compose(["source.path=/x", "recipe.epochs=010", "seed=1_000", "recipe.schedule.base_lr=1e-3"])
    assert (settings.recipe.epochs, settings.seed, settings.recipe.schedule.base_lr) == (10, 1000, 1e-3)


@pytest.mark.parametrize("value", ["0x10", "1:30", "1.5", "x", "", "${seed}", "???", "true"])
def test_what_is_no_number_is_no_number(value: str) -> None:
    with pytest.raises(UserError, match=r"^recipe\.epochs=.*: must be a whole number"):
        compose(["source.path=/x", f"recipe.epochs={value}"])


def test_later_values_win_and_groups_are_merged() -> None:
    tree: dict[str, Any] = {"a": {"b": 1, "c": [1, 2]}, "d": 4}
    merge(tree, {"a": {"c": [3]}, "d": {"e": 5}})
    assert tree == {"a": {"b": 1, "c": [3]}, "d": {"e": 5}}
    assert read("seed=1", "seed=2") == {"seed": "2"}
    assert read("source.path=/a", "source.kind=tar") == {"source": {"path": "/a", "kind": "tar"}}
