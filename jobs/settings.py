"""The settings of a run: composed by Hydra from conf/ and the command line, checked, and frozen in run.yaml.

The owners of the training sections import torch, which takes seconds. So a section is imported when it is read, and a
composition that was checked before is not checked again: a run with nothing to do starts in a second.
"""

import hashlib
import importlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import yaml
from pydantic import Field, ValidationError

from jobs.place import PlaceSettings
from jobs.wording import unknown_key, wrong_settings
from pipelines.manifest import code_version, write_atomically
from pipelines.settings import Settings, UserError

if TYPE_CHECKING:
    from pipelines.dedup.settings import DedupSettings
    from pipelines.score.settings import ScoreSettings
    from pipelines.settings import CurateSettings, EmbedSettings, FaceSettings, PixelSettings, ShardSettings
    from pipelines.sources.settings import IngestSettings, ReferenceSettings, SourceSettings
    from training.evaluate.settings import EvaluateSettings
    from training.feed.settings import FeedSettings
    from training.models.settings import ModelSettings
    from training.objectives.settings import ObjectiveSettings
    from training.settings import RecipeSettings
    from training.strategies.settings import StrategySettings

RUN_YAML = "run.yaml"
PROJECT = Path(__file__).parent.parent
CONF = PROJECT / "conf"

Tree = dict[str, Any]
Model = TypeVar("Model", bound=Settings)

# Section of the settings -> where its model lives.
OWNERS: dict[str, str] = {
    "source": "pipelines.sources.settings:SourceSettings",
    "ingest": "pipelines.sources.settings:IngestSettings",
    "reference": "pipelines.sources.settings:ReferenceSettings",
    "pixels": "pipelines.settings:PixelSettings",
    "faces": "pipelines.settings:FaceSettings",
    "dedup": "pipelines.dedup.settings:DedupSettings",
    "embed": "pipelines.settings:EmbedSettings",
    "score": "pipelines.score.settings:ScoreSettings",
    "curate": "pipelines.settings:CurateSettings",
    "shard": "pipelines.settings:ShardSettings",
    "feed": "training.feed.settings:FeedSettings",
    "model": "training.models.settings:ModelSettings",
    "objective": "training.objectives.settings:ObjectiveSettings",
    "strategy": "training.strategies.settings:StrategySettings",
    "recipe": "training.settings:RecipeSettings",
    "evaluate": "training.evaluate.settings:EvaluateSettings",
}


class Delivery(Settings):
    """Raw images that an earlier run took in, and whose records this one takes over."""

    run: str
    fingerprints: dict[str, str]  # role of a stage -> its artefact


class RunSettings(Settings):
    """Everything that a stage needs to know."""

    name: str = Field(default="default", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")  # of the run, and of its folder
    seed: int = Field(default=0, ge=0, lt=2**32)  # of all that is drawn: the split, the order, the first weights
    store: Path = Path("store")  # folder of the artefacts
    runs: Path = Path("runs")  # folder of the run folders
    place: PlaceSettings = PlaceSettings()
    sections: dict[str, Tree] = Field(default={})  # by name as in OWNERS, each complete and checked
    extends: str | None = None  # the run whose raw images this one's are added to; null = these are all
    earlier: tuple[Delivery, ...] = ()  # what it extends, oldest first; filled in when the run is planned
    fingerprints: dict[str, str] = Field(default={})  # stage -> its artefact; filled in when the run is planned
    composition: str = ""  # digest of what was composed and by which code; "" = composed by hand

    @property
    def folder(self) -> Path:
        """The run's own folder."""
        return self.runs / self.name

    def log_file(self, stage: str) -> Path:
        """Where the output of a stage goes; its progress and its fault lie beside it."""
        return self.folder / "logs" / f"{stage}.log"

    def with_section(self, name: str, section: Settings) -> "RunSettings":
        """The same with another section."""
        copy = self.model_copy(update={"sections": {**self.sections, name: section.model_dump(mode="json")}})
        copy.__dict__.pop(name, None)  # what was read of the old one, which the copy would go on showing
        return copy

    @cached_property
    def source(self) -> "SourceSettings":
        return cast("SourceSettings", self._section("source"))

    @cached_property
    def ingest(self) -> "IngestSettings":
        return cast("IngestSettings", self._section("ingest"))

    @cached_property
    def reference(self) -> "ReferenceSettings":
        return cast("ReferenceSettings", self._section("reference"))

    @cached_property
    def pixels(self) -> "PixelSettings":
        return cast("PixelSettings", self._section("pixels"))

    @cached_property
    def faces(self) -> "FaceSettings":
        return cast("FaceSettings", self._section("faces"))

    @cached_property
    def dedup(self) -> "DedupSettings":
        return cast("DedupSettings", self._section("dedup"))

    @cached_property
    def embed(self) -> "EmbedSettings":
        return cast("EmbedSettings", self._section("embed"))

    @cached_property
    def score(self) -> "ScoreSettings":
        return cast("ScoreSettings", self._section("score"))

    @cached_property
    def curate(self) -> "CurateSettings":
        return cast("CurateSettings", self._section("curate"))

    @cached_property
    def shard(self) -> "ShardSettings":
        return cast("ShardSettings", self._section("shard"))

    @cached_property
    def feed(self) -> "FeedSettings":
        return cast("FeedSettings", self._section("feed"))

    @cached_property
    def model(self) -> "ModelSettings":
        return cast("ModelSettings", self._section("model"))

    @cached_property
    def objective(self) -> "ObjectiveSettings":
        return cast("ObjectiveSettings", self._section("objective"))

    @cached_property
    def strategy(self) -> "StrategySettings":
        return cast("StrategySettings", self._section("strategy"))

    @cached_property
    def recipe(self) -> "RecipeSettings":
        return cast("RecipeSettings", self._section("recipe"))

    @cached_property
    def evaluate(self) -> "EvaluateSettings":
        return cast("EvaluateSettings", self._section("evaluate"))

    def _section(self, name: str) -> Settings:
        return check_section(name, OWNERS[name], self.sections[name])


def compose(
    overrides: Sequence[str] = (), conf_folder: Path = CONF, *, owners: Mapping[str, str] = OWNERS
) -> RunSettings:
    """The settings that conf/ and the command line make together, every section checked.

    Raises:
        UserError: an unknown key, group option or value; one line with key, value and remedy.
    """
    tree = _compose_tree(overrides, conf_folder)
    head = {key: value for key, value in tree.items() if key not in owners}
    known = {"name", "seed", "store", "runs", "place", "extends"}
    for key in head.keys() - known:
        raise unknown_key(key, known | owners.keys())
    settings = _check(RunSettings, head, prefix="")
    digest = _composition(tree)
    if (settings.folder / RUN_YAML).is_file():
        frozen = load(settings.folder / RUN_YAML)
        if frozen.composition == digest:
            return frozen
    sections = {name: check_section(name, owner, tree.get(name) or {}) for name, owner in owners.items()}
    plain = {name: section.model_dump(mode="json") for name, section in sections.items()}
    return settings.model_copy(update={"sections": plain, "composition": digest})


def check_section(name: str, owner: str, values: Tree) -> Settings:
    """One section as its owner's model."""
    module, _, attribute = owner.partition(":")
    model: type[Settings] = getattr(importlib.import_module(module), attribute)
    return _check(model, values, prefix=f"{name}.")


def freeze(settings: RunSettings, path: Path) -> None:
    """Write the settings as YAML that ``load`` turns into an equal model."""
    content = settings.model_dump(mode="json")
    flat = {**{key: value for key, value in content.items() if key != "sections"}, **content["sections"]}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, yaml.safe_dump(flat, sort_keys=False).encode())


def load(path: Path) -> RunSettings:
    """Read a run.yaml.

    Raises:
        UserError: it is missing, or no settings of a run.
    """
    try:
        content = yaml.safe_load(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; `ringmill run` writes it, or name another run") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no YAML ({_first_line(error)}); remove it and start `ringmill run` again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no settings of a run; remove it and start `ringmill run` again")
    own = RunSettings.model_fields.keys() - {"sections"}
    head = {key: value for key, value in content.items() if key in own}
    return _check(RunSettings, {**head, "sections": {k: v for k, v in content.items() if k not in own}}, prefix="")


def group_options(conf_folder: Path) -> dict[str, list[str]]:
    """Every group of conf/ and the names of its files."""
    folders = sorted(path for path in conf_folder.iterdir() if path.is_dir())
    return {folder.name: sorted(path.stem for path in folder.glob("*.yaml")) for folder in folders}


def _compose_tree(overrides: Sequence[str], conf_folder: Path) -> Tree:
    # Imported here, since the jobs read run.yaml alone and may run where Hydra is not installed.
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    choices, values = _sort_overrides(overrides, group_options(conf_folder))
    try:
        with initialize_config_dir(str(conf_folder.absolute()), version_base="1.3"):
            config = hydra_compose("config", overrides=choices)
        # Values are read as YAML and not in Hydra's grammar, where the brackets of local[2] and the comma of a:4,b:4
        # have a meaning of their own.
        OmegaConf.set_struct(config, False)
        merged = OmegaConf.merge(config, OmegaConf.from_dotlist(values))
        return cast(Tree, OmegaConf.to_container(merged, resolve=True, throw_on_missing=True))
    except MissingMandatoryValue as error:
        raise UserError(f"{error.full_key} is not given; add {error.full_key}=VALUE") from None
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise UserError(f"the settings {' '.join(overrides)} cannot be read: {_first_line(error)}") from None


def _sort_overrides(overrides: Sequence[str], groups: Mapping[str, Sequence[str]]) -> tuple[list[str], list[str]]:
    """The choices of groups, and the values; the latter may name a setting that no file of conf/ does."""
    choices, values = [], []
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise UserError(f"{override!r} is no setting; write key=value, such as recipe.epochs=5")
        if key not in groups:
            values.append(override)
        elif value in (*groups[key], "null"):
            choices.append(override)
        else:
            options = ", ".join(groups[key])
            raise UserError(f"{key}={value}: there is no conf/{key}/{value}.yaml; choose one of {options}")
    return choices, values


def _composition(tree: Tree) -> str:
    code = [code_version(PROJECT / package) for package in ("pipelines", "training", "jobs")]
    return hashlib.sha256(repr([tree, code]).encode()).hexdigest()[:16]


def _check(model: type[Model], values: Tree, *, prefix: str) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise wrong_settings(error, model, prefix=prefix) from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
