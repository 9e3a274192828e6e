"""Time and peak memory of converting a checkpoint as large as the published ones.

    python benchmarks/convert_memory.py ../shared/golden

Writes a file like 256x256_diffusion_uncond.pt (2.2 GB, PyTorch's legacy format, all
tensors in one flat storage on a GPU) and converts it in a process of its own.
"""

import json
import resource
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from torch_files import Call, Name, Persistent, pickled


def write_legacy(path: Path, shapes: dict[str, list[int]]) -> None:
    """Random tensors as views into one storage, written a tensor at a time."""
    sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    total = sum(sizes.values())
    kind = Name("torch", "FloatStorage")
    storage = Persistent(("storage", kind, "0", "cuda:0", total))
    hooks = Call(Name("collections", "OrderedDict"), ())
    rebuild = Name("torch._utils", "_rebuild_tensor_v2")
    state, offset = {}, 0
    for name, shape in shapes.items():
        strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
        arguments = (storage, offset, tuple(shape), strides, False, hooks)
        state[name] = Call(rebuild, arguments)
        offset += sizes[name]
    system = {"protocol_version": 1001, "little_endian": True}
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        for part in (0x1950A86A20F9469CFC6C, 1001, system, state, ["0"]):
            file.write(pickled(part, views=True))
        file.write(struct.pack("<q", total))
        for size in sizes.values():
            file.write(rng.standard_normal(size, np.float32).tobytes())


def main() -> None:
    manifest = Path(sys.argv[1]) / "manifests" / "256x256_diffusion_uncond.json"
    tensors = json.loads(manifest.read_text())["tensors"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        write_legacy(path, dict(tensors))
        print(f"{path.stat().st_size:,} bytes")
        start = time.perf_counter()
        command = [sys.executable, "-m", "pigdm_jax.cli.main", "convert", str(path)]
        subprocess.run([*command, str(Path(folder) / "prior")], check=True)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        print(f"converted in {seconds:.0f} s, peak memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()
