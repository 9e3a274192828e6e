"""Put the prior that a training run made into the package, in half precision.

    python benchmarks/ship_prior.py RUN photos-64 "natural photographs, any size ..."

The card beside it, README.md, is for a person to write.
"""

import json
import shutil
import sys
from pathlib import Path

import jax
import numpy as np

import pigdm_jax as pj
from pigdm_jax.checkpoint import SHIPPED


def main(run: str, name: str, description: str) -> None:
    folder = Path(run) / "prior"
    prior = pj.load_prior(folder)
    source = json.loads((folder / "prior.json").read_text())["source"]
    place = SHIPPED / name
    for old in ("params", "prior.json"):
        path = place / old
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    half = jax.tree.map(lambda a: np.asarray(a, np.float16), prior.params)
    made = place.with_name(f"{name}.new")
    source = source | {"description": description}
    pj.save_prior(made, half, prior.net.config, prior.schedule, source)
    place.mkdir(exist_ok=True)
    for new in made.iterdir():
        new.rename(place / new.name)
    made.rmdir()
    size = sum(f.stat().st_size for f in place.rglob("*") if f.is_file())
    print(f"{place}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(*sys.argv[1:])
