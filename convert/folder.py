"""Reading a folder as diffusers writes it: documents, and weights or their shards.

A folder has `config.json` and the weights; that of a pipeline has them in `unet`, and
`scheduler/scheduler_config.json` beside.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pigdm_convert.tensor import Refused, Tensor

WEIGHTS = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.bin",
    "diffusion_pytorch_model.bin.index.json",
)
ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
INDEX = ".index.json"
# Of a pipeline; averaged weights first.
FOLDERS = ("", "unet_ema", "unet")
LARGEST = 2**24  # bytes of a document


class Folder(NamedTuple):
    """What a folder holds.

    Attributes:
      weights: the file of weights, or the index of its shards.
      documents: JSON objects: "config", and "scheduler" if there is one.
    """

    weights: Path
    documents: dict[str, dict[str, Any]]


def read_folder(path: Path) -> Folder:
    """The documents of a folder, and its file of weights.

    Raises:
      Refused: if it has none, or several that do not say which is meant.
    """
    for name in FOLDERS:
        folder = path / name
        if (folder / "config.json").is_file():
            break
    else:
        raise Refused("it is a folder without config.json, which diffusers writes")
    documents = {"config": read_json(folder / "config.json")}
    schedulers = [
        path / "scheduler_config.json",
        path / "scheduler" / "scheduler_config.json",
    ]
    if path.absolute().name in FOLDERS:
        schedulers.append(path.absolute().parent / "scheduler/scheduler_config.json")
    for file in schedulers:
        if file.is_file():
            documents["scheduler"] = read_json(file)
            break
    return Folder(_weights(folder), documents)


def _weights(folder: Path) -> Path:
    for name in WEIGHTS:
        if (folder / name).exists():
            return folder / name
    others = sorted(p for p in folder.iterdir() if p.name.endswith(ENDINGS))
    if len(others) != 1:
        names = ", ".join(p.name for p in others) or "none"
        raise Refused(
            f"it is a folder with {WEIGHTS[0]} expected, and other weights: {names}"
        )
    return others[0]


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
      Refused: if the file is too large or holds something else.
    """
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            raise Refused(f"its {path.name} is too large or no file")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise Refused(f"its {path.name} is not JSON") from None
    if not isinstance(content, dict):
        raise Refused(f"its {path.name} is not a JSON object")
    return content


def read_shards(
    index: Path, read: Callable[[Path], dict[str, Tensor]]
) -> tuple[dict[str, Tensor], tuple[Path, ...]]:
    """The tensors of all shards of an index, and the shards.

    Args:
      index: a file that ends in `.index.json`.
      read: reads the tensors of one file.

    Raises:
      Refused: if a shard or a tensor is missing, or a shard is not beside the index.
    """
    table = read_json(index).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise Refused(f"its {index.name} has no weight_map")
    for name in table.values():
        plain = isinstance(name, str) and name == Path(name).name
        if not plain or name in ("", ".."):
            raise Refused(f"its {index.name} names {name!r:.80}, no file beside it")
    shards = sorted(set(table.values()))
    for name in shards:
        if not (index.parent / name).is_file():
            raise Refused(f"its shard {name} is missing")
    tensors: dict[str, Tensor] = {}
    for name in shards:
        found = read(index.parent / name)
        for key in (key for key, shard in table.items() if shard == name):
            if key not in found:
                raise Refused(f"its shard {name} has no {key}")
            tensors[key] = found[key]
    return tensors, tuple(index.parent / name for name in shards)
