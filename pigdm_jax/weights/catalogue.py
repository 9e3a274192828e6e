"""The catalogue: pretrained weights by name, and where their files are; no JAX."""

import dataclasses
import functools
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

CATALOGUE = Path(__file__).with_suffix(".toml")
HUGGING_FACE = "https://huggingface.co"
# hf:org/name, or hf:org/name/folder; the site allows neither -- nor .. in names.
REPOSITORY = re.compile(r"(?!.*(--|\.\.))[\w.-]+/[\w.-]+(/[\w.-]+)*", re.ASCII)
# Where diffusers keeps the weights of a model, in the order in which they are tried.
DIFFUSERS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
SCHEDULE = "scheduler_config.json"


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """A file of weights and the addresses that serve it.

    Attributes:
      mirrors: addresses, in the order in which they are tried. None if no address is
        known; the user then gives the file.
      name: of the file on disk; by default the last part of the address it came from.
      size: in bytes; None if unknown.
      digest: "sha256:HEX" or "md5:HEX", whole or its beginning; None if unknown. It is
        then recorded at the first download.
      optional: whether the weights can be used without it.
    """

    mirrors: tuple[str, ...] = ()
    name: str | None = None
    size: int | None = None
    digest: str | None = None
    optional: bool = False

    def name_from(self, mirror: str) -> str:
        """The name on disk of the file that a mirror serves."""
        return self.name or PurePosixPath(urlsplit(mirror).path).name

    @property
    def names(self) -> list[str]:
        """The names that it may have on disk."""
        return [self.name] if self.name else [*map(self.name_from, self.mirrors)]


@dataclasses.dataclass(frozen=True)
class CatalogueEntry:
    """Weights that can be obtained by name.

    Attributes:
      name: the name.
      description: one line about the network and its training images.
      licence: of the weights, as far as their authors state it.
      home: the page of their authors.
      files: all that is needed; several files are in one folder.
      kind: "prior", which is converted to one, or "metric", the network of a metric,
        whose files are read as they are.
      trained_size: side in pixels of the training images; None if unknown.
      checkpoint: the public checkpoint as which its tensors must be recognised.
      flags: settings for the conversion that the tensors do not determine, as
        `pigdm_jax.networks.CheckpointFlags` takes them.
    """

    name: str
    description: str
    licence: str
    home: str
    files: tuple[RemoteFile, ...]
    kind: Literal["prior", "metric"] = "prior"
    trained_size: int | None = None
    checkpoint: str | None = None
    flags: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def size(self) -> int | None:
        """Bytes to download; None if unknown."""
        sizes = [file.size for file in self.files]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None

    @property
    def downloadable(self) -> bool:
        """Whether an address is known for every file."""
        return all(file.mirrors for file in self.files)

    @property
    def slug(self) -> str:
        """The name as the name of a file."""
        return self.name.replace(":", "--").replace("/", "--")


def catalogue() -> dict[str, CatalogueEntry]:
    """All entries of the catalogue, by name.

    Examples:
      >>> from pigdm_jax.weights.catalogue import catalogue
      >>> entry = catalogue()["imagenet-256"]
      >>> entry.trained_size, entry.size, entry.licence
      (256, 2211383297, 'MIT')
    """
    return _read(CATALOGUE, os.environ.get("HF_ENDPOINT", ""))


def find_entry(name: str) -> CatalogueEntry | None:
    """The entry of a name in the catalogue, or of "hf:org/name"; None for others.

    "hf:org/name" is a repository at Hugging Face that holds a `UNet2DModel` of
    diffusers, "hf:org/name/unet" one that holds it in a folder. As for huggingface_hub,
    the environment variable HF_ENDPOINT names another site with the same repositories.

    Raises:
      ValueError: if "hf:" is followed by something else.

    Examples:
      >>> from pigdm_jax.weights.catalogue import find_entry
      >>> [file.mirrors[0] for file in find_entry("hf:me/cats").files][0]
      'https://huggingface.co/me/cats/resolve/main/config.json'
    """
    scheme, _, repository = name.partition(":")
    if scheme != "hf":
        return catalogue().get(name)
    if not REPOSITORY.fullmatch(repository):
        raise ValueError(
            f"{name!r} is no repository: write hf:org/name, or hf:org/name/folder"
        )
    return CatalogueEntry(
        name,
        f"diffusers, {repository}",
        "see its page",
        *_repository(repository, os.environ.get("HF_ENDPOINT", "")),
    )


@functools.cache
def _read(path: Path, endpoint: str) -> dict[str, CatalogueEntry]:
    with path.open("rb") as file:
        tables = tomllib.load(file)
    return {name: _entry(name, table, endpoint) for name, table in tables.items()}


def _entry(name: str, table: dict[str, Any], endpoint: str) -> CatalogueEntry:
    table = dict(table)
    if "repository" in table:
        home, files = _repository(table.pop("repository"), endpoint)
        return CatalogueEntry(name, home=home, files=files, **table)
    files = tuple(_file(file, endpoint) for file in table.pop("files"))
    return CatalogueEntry(name, files=files, **table)


def _file(table: dict[str, Any], endpoint: str) -> RemoteFile:
    mirrors = tuple(_at(endpoint, mirror) for mirror in table.get("mirrors", ()))
    return RemoteFile(**table | {"mirrors": mirrors})


def _repository(repository: str, endpoint: str) -> tuple[str, tuple[RemoteFile, ...]]:
    """The page and the files of a repository with a `UNet2DModel` of diffusers."""
    org, name, *folder = repository.split("/")
    page = _at(endpoint, f"{HUGGING_FACE}/{org}/{name}")
    base = "/".join([page, "resolve", "main", *folder])
    config = RemoteFile((f"{base}/config.json",))
    weights = RemoteFile(tuple(f"{base}/{file}" for file in DIFFUSERS))
    # Beside the network, or in a folder beside the network's.
    top = f"{page}/resolve/main"
    schedule = RemoteFile(
        (f"{top}/{SCHEDULE}", f"{top}/scheduler/{SCHEDULE}"), optional=True
    )
    return page, (config, weights, schedule)


def _at(endpoint: str, address: str) -> str:
    """An address, at another site than Hugging Face's if there is one."""
    if not endpoint or not address.startswith(f"{HUGGING_FACE}/"):
        return address
    return endpoint.rstrip("/") + address.removeprefix(HUGGING_FACE)
