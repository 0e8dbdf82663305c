"""Secrets among the settings of Spark: in no page, message or command line, and in a file for the owner alone."""

import itertools
import stat
from pathlib import Path

import pytest

from jobs.places.settings import LocalSettings
from jobs.places.spark import submit_locally
from jobs.report.contents import read_run
from jobs.secret_values import hidden, is_secret, shown, without_secrets
from jobs.settings import RunSettings, compose, freeze, load
from pipelines.run_folder import RunFolder
from pipelines.settings import UserError
from pipelines.sources.settings import FolderSettings

SECRET = [
    "spark.hadoop.fs.s3a.secret.key",
    "spark.hadoop.fs.s3a.access.key",
    "spark.hadoop.fs.s3a.session.token",
    "spark.hadoop.fs.azure.account.key.faces.blob.core.windows.net",
    "spark.hadoop.fs.azure.sas.faces.x",
    "spark.ssl.keyPassword",
    "spark.ssl.trustStorePassword",
    "spark.authenticate.secret",
    "spark.kubernetes.authenticate.oauthToken",
    "spark.hadoop.javax.jdo.option.ConnectionPassword",
    "my.PASSWD",
    "spark.some.credential",
    "spark.db.pwd",
]


@pytest.mark.parametrize("name", SECRET)
def test_a_secret_is_known_by_its_name_and_shown_nowhere(name: str, tmp_path: Path) -> None:
    assert is_secret(name)
    conf = {name: "hush", "spark.ui.port": "4040"}
    settings = RunSettings(
        source=FolderSettings(path="/x"), runs=tmp_path, place=LocalSettings(spark_conf=conf), name="r"
    )
    path = RunFolder(settings.folder).settings
    freeze(settings, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load(path).place.spark_conf == conf
    page = read_run(RunFolder(settings.folder)).settings
    assert "hush" not in page
    assert "4040" in page
    argv = submit_locally(settings.place, Path("/venv/bin/python"), Path("/x.py"), []).argv
    assert not [word for word in argv if "hush" in word]
    assert "spark.ui.port=4040" in [word for before, word in itertools.pairwise(argv) if before == "--conf"]


@pytest.mark.parametrize("name", ["spark.ui.port", "spark.executor.instances", "spark.sql.shuffle.partitions"])
def test_other_settings_are_shown(name: str) -> None:
    assert shown(f"place.spark_conf.{name}", "17") == "17"
    assert shown("recipe.keep_checkpoints", "3") == "3"


def test_settings_without_a_secret_are_readable_by_all(tmp_path: Path) -> None:
    settings = RunSettings(source=FolderSettings(path="/x"), place=LocalSettings(spark_conf={"spark.ui.port": "1"}))
    freeze(settings, tmp_path / "run.yaml")
    (tmp_path / "other").touch()
    assert (tmp_path / "run.yaml").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-Xmx1g -Djavax.net.ssl.keyStorePassword=hush -Da=b", "-Xmx1g -Djavax.net.ssl.keyStorePassword=*** -Da=b"),
        ("s3://AKIA:hush@bucket/faces", "s3://***@bucket/faces"),
        ("https://host/a?token=hush&b=1", "https://host/a?token=***&b=1"),
        ("s3://bucket/a:b@c", "s3://bucket/a:b@c"),
        ("/faces/token", "/faces/token"),
    ],
)
def test_a_secret_inside_of_a_value_is_hidden(text: str, expected: str) -> None:
    assert hidden(text) == expected
    assert without_secrets({"a": [{"b": text}]}) == {"a": [{"b": expected}]}


@pytest.mark.parametrize("value", ["'hush'", "hu\nsh"])
def test_a_message_on_a_secret_shows_none(value: str) -> None:
    with pytest.raises(UserError, match=r"^place\.spark_conf\.spark\.x\.secret=") as raised:
        compose(["source.path=/x", f"place.spark_conf.spark.x.secret={value}"])
    assert "hu" not in str(raised.value)
