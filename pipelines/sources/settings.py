"""The settings of a source: the place of the raw images, and the origin of their identities."""

import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from pipelines.kinds import Kind, Kinds
from pipelines.settings import IsPath, Settings


class SourceSettings(Settings):
    """Settings that every kind of source has, and the facts of its kind that an estimate of its size needs."""

    holds_loose_files: ClassVar[bool] = False  # its images are files, each of which has a size of its own
    counts_in_bytes: ClassVar[bool] = False  # the portions of its containers begin and end at a byte
    identity_remedy: ClassVar[str]  # advice where most of its images have no identity
    holds_other_files: ClassVar[bool] = False  # files that are no pictures may lie between its images

    kind: str
    # A folder, a file, a glob (/data/*.tar), a numbered set ({000..123}.tar), or a URI that fsspec knows.
    path: Annotated[str, IsPath()] = Field(min_length=1)
    # One task reads at most this much and writes one file of records; small sources have smaller chunks.
    chunk_bytes: int = Field(default=512 << 20, ge=1 << 20, le=1 << 34)
    chunk_images: int = Field(default=8192, ge=1, le=1_000_000)
    # Links that lead out of the source: refuse = passed over and counted, follow = taken. A list is followed anywhere.
    links_out: Literal["refuse", "follow"] = "refuse"
    # What a changed source is known by: time = size and time of every file; content = everything is read for it.
    verify: Literal["time", "content"] = "time"

    @property
    def follows_links_out(self) -> bool:
        return self.links_out == "follow"


class NamedSettings(SourceSettings):
    """A source whose pictures have names, from which an identity can be read."""

    # A regular expression on the name below the source, whose first group is the identity; null = the folder's name.
    identity_pattern: str | None = None
    # A CSV, JSONL or text file with the name and identity of each picture; takes precedence over pattern and folder.
    identity_list: Path | None = None

    @field_validator("identity_pattern")
    @classmethod
    def _has_group(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"is no regular expression ({error})") from None
        if groups < 1:
            raise ValueError("has no group; put what names the identity in brackets, such as ^([^/]+)_")
        return pattern


class FolderSettings(NamedSettings):
    """A folder tree."""

    holds_loose_files: ClassVar[bool] = True
    identity_remedy: ClassVar[str] = (
        "put the images of each identity in a folder of its name, "
        "or set source.identity_pattern or source.identity_list"
    )
    holds_other_files: ClassVar[bool] = True
    kind: Literal["folder"] = "folder"


class TarSettings(NamedSettings):
    """Tar archives."""

    counts_in_bytes: ClassVar[bool] = True
    identity_remedy: ClassVar[str] = FolderSettings.identity_remedy
    holds_other_files: ClassVar[bool] = True
    kind: Literal["tar"] = "tar"


class ListSettings(NamedSettings):
    """A list of pictures."""

    identity_remedy: ClassVar[str] = (
        "name the list's column by source.identity_column, or set source.identity_pattern or source.identity_list"
    )
    kind: Literal["list"] = "list"
    identity_column: str | None = None  # column that holds the identity; null = identity, label, class, person or id


class WebDatasetSettings(NamedSettings):
    """WebDataset shards."""

    counts_in_bytes: ClassVar[bool] = True
    identity_remedy: ClassVar[str] = (
        "name the member or the key of the json that holds it by source.identity_column, "
        "or set source.identity_pattern or source.identity_list"
    )
    kind: Literal["webdataset"] = "webdataset"
    identity_column: str | None = None  # member or JSON key beside the picture that holds the identity; null = cls


class RecordIOSettings(SourceSettings):
    """MXNet RecordIO files."""

    counts_in_bytes: ClassVar[bool] = True
    identity_remedy: ClassVar[str] = (
        "pack the records with their labels, or read the images themselves with source=list from the .lst"
    )
    kind: Literal["recordio"] = "recordio"


class ParquetSettings(SourceSettings):
    """Parquet files that hold encoded pictures."""

    identity_remedy: ClassVar[str] = "name the column that holds it by source.identity_column"
    kind: Literal["parquet"] = "parquet"
    image_column: str = "image"  # bytes, or struct<bytes, path> as Hugging Face writes it
    # Column, or key in the names of folders (identity=alice/), that holds the identity; null = identity, label, class,
    # person or labels.
    identity_column: str | None = None


class PackSettings(SourceSettings):
    """Verification packs."""

    identity_remedy: ClassVar[str] = "choose another source: packs are for evaluations and hold no identities"
    kind: Literal["pack"] = "pack"


SOURCES: Kinds[SourceSettings] = Kinds(
    "kind",
    {
        "folder": Kind(FolderSettings, "pipelines.sources.folder"),
        "list": Kind(ListSettings, "pipelines.sources.image_list"),
        "tar": Kind(TarSettings, "pipelines.sources.tar"),
        "webdataset": Kind(WebDatasetSettings, "pipelines.sources.webdataset"),
        "recordio": Kind(RecordIOSettings, "pipelines.sources.recordio"),
        "parquet": Kind(ParquetSettings, "pipelines.sources.parquet"),
        "pack": Kind(PackSettings, "pipelines.sources.pack"),
    },
)

Source = Annotated[SourceSettings, SOURCES]


class ReferenceSettings(Settings):
    """Pictures that must not be in the training data, since models are evaluated on them."""

    sources: tuple[Source, ...] = ()
    with_evaluation: bool = True  # include the pictures of the files of evaluate.sets
    # Share of each set whose pictures may be unreadable: these cannot be kept out of training.
    max_unreadable_fraction: float = Field(default=0.0, ge=0, le=1)


class IngestSettings(Settings):
    """The share of a source that may be broken."""

    # Share of the source's bytes in which no image can be found or read.
    max_broken_fraction: float = Field(default=0.05, ge=0, le=1)
