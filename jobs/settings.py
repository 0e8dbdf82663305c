"""The settings of a run: composed by Hydra from conf/ and the command line, checked, and frozen in run.yaml."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import yaml
from pydantic import Field, ValidationError

from jobs.overrides import Tree, merge, read_overrides
from jobs.places.settings import ChosenPlace, LocalSettings
from jobs.secret_values import shown, without_secrets
from jobs.wording import models_of, wrong_settings
from pipelines.dedup.settings import DedupSettings
from pipelines.durable import sync_names, write_atomically
from pipelines.paths import with_absolute_paths
from pipelines.run_folder import MAX_NAME_BYTES, RunFolder
from pipelines.score.settings import ScoreSettings
from pipelines.settings import (
    CurateSettings,
    EmbedSettings,
    FaceSettings,
    PixelSettings,
    Settings,
    ShardSettings,
    UserError,
)
from pipelines.sources.settings import IngestSettings, ReferenceSettings, Source
from training.settings import TrainingSettings
from training.tasks.settings import EvaluateSettings

PROJECT = Path(__file__).parent.parent
CONF = PROJECT / "conf"

_SEAL = b"# sha256 of the lines above: "
_PRIVATE = 0o600  # mode of a file with secrets

Model = TypeVar("Model", bound=Settings)


class Delivery(Settings):
    """Raw images that an earlier run took in, and whose records this one takes over."""

    run: str
    fingerprints: dict[str, str]  # kind -> its artefact


class RunSettings(TrainingSettings):
    """Everything that the stages of a run read: a section for each part, and what belongs to the run itself."""

    # Of the run, and of its folder.
    name: str = Field(default="default", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=MAX_NAME_BYTES)
    store: Path = Path("store")  # folder of the artefacts
    runs: Path = Path("runs")  # folder of the run folders
    extends: str | None = None  # the run whose raw images this one's are added to; null = these are all
    earlier: tuple[Delivery, ...] = ()  # the runs that it extends, oldest first; filled in when the run is planned
    fingerprints: dict[str, str] = Field(default={})  # stage -> its artefact; filled in when the run is planned
    listed: dict[str, str] = Field(default={})  # stage -> digest of its data outside the store; filled in likewise
    # What a changed module of Ringmill means for artefacts that other code made: nothing, a note in plan and run, or
    # another fingerprint, so that their stage is done again; the last is for those who change the code.
    code: Literal["ignored", "noted", "fingerprint"] = "noted"
    place: ChosenPlace = LocalSettings()
    source: Source
    ingest: IngestSettings = IngestSettings()
    reference: ReferenceSettings = ReferenceSettings()
    pixels: PixelSettings = PixelSettings()
    faces: FaceSettings = FaceSettings()
    dedup: DedupSettings = DedupSettings()
    embed: EmbedSettings = EmbedSettings()
    score: ScoreSettings = ScoreSettings()
    curate: CurateSettings = CurateSettings()
    shard: ShardSettings = ShardSettings()
    evaluate: EvaluateSettings = EvaluateSettings()

    @property
    def folder(self) -> Path:
        """The run's own folder."""
        return self.runs / self.name

    def log_file(self, stage: str) -> Path:
        """The output of a stage; its progress and its fault lie beside it."""
        return RunFolder(self.folder).log(stage)

    def section(self, name: str) -> Any:
        """A section, or a field of the run, as plain values."""
        return self.model_dump(mode="json", include={name})[name]


def compose(
    overrides: Sequence[str] = (), conf_folder: Path = CONF, model: type[RunSettings] = RunSettings
) -> RunSettings:
    """The settings that conf/ and the command line make together, every section checked; paths become absolute.

    Args:
        model: of a run that has further sections.

    Raises:
        UserError: an unknown key, group option or value; one line with key, value and remedy.
    """
    tree = _compose_tree(overrides, conf_folder, model)
    # A section set to null keeps its defaults.
    is_section = {name for name, field in model.model_fields.items() if models_of(field)}
    checked = check(model, {key: {} if value is None and key in is_section else value for key, value in tree.items()})
    return with_absolute_paths(checked, Path.cwd())


def check(model: type[Model], values: Tree, *, prefix: str = "") -> Model:
    """The values as a settings model.

    Raises:
        UserError: one of them is wrong; one line with key, value and remedy.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise wrong_settings(error, model, prefix=prefix) from None


def freeze(settings: RunSettings, path: Path) -> None:
    """Write the settings as YAML that ``load`` turns into an equal model; for the owner alone where it holds secrets.

    Its last line is the digest of the others, so that a later change of the file is noticed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    values = settings.model_dump(mode="json")
    content = yaml.safe_dump(values, sort_keys=False).encode()
    mode = _PRIVATE if without_secrets(values) != values else None
    write_atomically(path, content + _seal(content), mode=mode)
    sync_names(path.parent)


def was_altered(path: Path) -> bool:
    """True for a run.yaml that is not as ``freeze`` wrote it; false where there is none, or one without a digest."""
    try:
        content = path.read_bytes()
    except OSError:
        return False
    body, mark, _ = content.rpartition(_SEAL)
    return bool(mark) and content != body + _seal(body)


def _seal(content: bytes) -> bytes:
    return _SEAL + hashlib.sha256(content).hexdigest().encode() + b"\n"


def load(path: Path, model: type[RunSettings] = RunSettings) -> RunSettings:
    """Read a run.yaml.

    Raises:
        UserError: it is missing, was changed since it was frozen, or holds no settings of a run.
    """
    if was_altered(path):
        raise UserError(
            f"{path} was changed after `ringmill run` froze it, and the artefacts of the run would not be what their "
            "names say; give the change to `ringmill run` on the command line"
        )
    try:
        content = yaml.safe_load(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; `ringmill run` writes it, or name another run") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); allow it, or name another run") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no YAML ({_first_line(error)}); remove it and start `ringmill run` again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no settings of a run; remove it and start `ringmill run` again")
    return check(model, content)


def group_options(conf_folder: Path) -> dict[str, list[str]]:
    """Every group of conf/ and the names of its files."""
    folders = sorted(path for path in conf_folder.iterdir() if path.is_dir())
    return {folder.name: sorted(path.stem for path in folder.glob("*.yaml")) for folder in folders}


def _compose_tree(overrides: Sequence[str], conf_folder: Path, model: type[RunSettings]) -> Tree:
    # Imported here, since the jobs read run.yaml alone and may run where Hydra is not installed.
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    choices, values = read_overrides(overrides, group_options(conf_folder), model)
    try:
        with initialize_config_dir(str(conf_folder.absolute()), version_base="1.3"):
            config = hydra_compose("config", overrides=choices)
        OmegaConf.set_struct(config, False)
        # Merged once for the files of conf/ that refer to a value of the command line, ...
        merged = OmegaConf.merge(config, OmegaConf.create(_without_references(values)))
        tree = cast(Tree, OmegaConf.to_container(merged, resolve=True, throw_on_missing=True))
    except MissingMandatoryValue as error:
        raise UserError(f"{error.full_key} is not given; add {error.full_key}=VALUE") from None
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        given = " ".join(f"{key}={shown(key, value)}" for key, _, value in (one.partition("=") for one in overrides))
        raise UserError(f"the settings {given} cannot be read: {_first_line(error)}") from None
    # ... and once as they were typed, since OmegaConf gives "${" and "???" a meaning.
    merge(tree, values)
    return tree


def _without_references(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_references(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_references(inner) for inner in value]
    return "" if isinstance(value, str) and ("${" in value or value == "???") else value


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
