"""The settings of a source: where the raw images lie, and how each gets its identity."""

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from pipelines.settings import Settings


class SourceSettings(Settings):
    """Where the raw images lie, and how each gets its identity."""

    kind: Literal["folder", "list", "tar", "webdataset", "recordio", "parquet", "pack"]
    # A folder, a file, a glob (/data/*.tar), a numbered set ({000..123}.tar), or a URI that fsspec knows.
    path: str = Field(min_length=1)
    # Of the picture's name below the source, the first group is the identity; null = the folder that it lies in.
    identity_pattern: str | None = None
    # A CSV, JSONL or text file that names each picture and its identity; goes before the pattern and the folder.
    identity_list: Path | None = None
    # Which column (Parquet, list), or which member or JSON key beside the picture (WebDataset), is the identity.
    identity_column: str | None = None
    image_column: str = "image"  # Parquet: bytes, or struct<bytes, path> as Hugging Face writes it
    # One task reads at most this much and makes one file of records of it; small sources are cut finer.
    chunk_bytes: int = Field(default=512 << 20, ge=1 << 20, le=1 << 34)
    chunk_images: int = Field(default=8192, ge=1, le=1_000_000)

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

    @model_validator(mode="after")
    def _fits_the_kind(self) -> Self:
        by_name = self.kind in ("folder", "tar", "list", "webdataset")
        if not by_name and (self.identity_pattern or self.identity_list):
            raise ValueError(f"identity_pattern and identity_list need names, and {self.kind} has none of its own")
        if self.kind in ("folder", "tar", "recordio", "pack") and self.identity_column:
            raise ValueError(f"identity_column is for parquet, list and webdataset, not for {self.kind}")
        return self


class ReferenceSettings(Settings):
    """Pictures that must not be trained on, since a model is judged by them."""

    sources: tuple[SourceSettings, ...] = ()
    with_evaluation: bool = True  # evaluate.path is one of them


class IngestSettings(Settings):
    """When a broken source stops the run."""

    # Of the source's bytes, those in which no image can be found or read.
    max_broken_fraction: float = Field(default=0.05, ge=0, le=1)
