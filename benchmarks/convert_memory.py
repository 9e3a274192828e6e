"""Time and peak memory of converting a checkpoint as large as the published ones.

    python benchmarks/convert_memory.py adm --golden ../shared/golden
    python benchmarks/convert_memory.py ddpm jit-b jit-l jit-h

Writes a file with random weights and the names and shapes of
256x256_diffusion_uncond.pt, of the original ddpm-celebahq-256, or of JiT-B/16, L/16 or
H/16 (PyTorch's legacy format, all tensors in one flat storage on a GPU), and converts
it in a process of its own.
"""

import argparse
import dataclasses
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from configurations import DDPM_256, JIT_B16

import pigdm_jax as pj
from pigdm_jax.networks.ddpm.keys import torch_names
from pigdm_jax.networks.keys import places, torch_key

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from torch_files import Call, Name, Persistent, pickled

Shapes = dict[str, tuple[int, ...]]


def adm(golden: Path) -> Shapes:
    manifest = golden / "manifests" / "256x256_diffusion_uncond.json"
    tensors = json.loads(manifest.read_text())["tensors"]
    return {name: tuple(shape) for name, shape in tensors}


def ddpm(golden: Path) -> Shapes:
    del golden
    levels = len(DDPM_256.block_out_channels)
    return torch_shapes(pj.DDPMUNet(DDPM_256), torch_names("original", levels))


def jit(width: int, depth: int, heads: int, bottleneck: int) -> Shapes:
    config = dataclasses.replace(
        JIT_B16,
        hidden_size=width,
        depth=depth,
        num_heads=heads,
        mlp_size=8 * width // 3,
        bottleneck_dim=bottleneck,
        in_context_start=depth // 3,
    )
    return torch_shapes(pj.PixelTransformer(config), torch_key)


NETWORKS = {
    "adm": adm,
    "ddpm": ddpm,
    "jit-b": lambda _: jit(768, 12, 12, 128),
    "jit-l": lambda _: jit(1024, 24, 16, 128),
    "jit-h": lambda _: jit(1280, 32, 16, 256),
}


def torch_shapes(network: pj.DDPMUNet | pj.PixelTransformer, key) -> Shapes:
    """The shapes of a checkpoint's tensors, from those of the parameters."""
    shapes = {}
    for name, place in places(network, key).items():
        kernel = place.path[-1] == "kernel"
        # Output channels first: OIHW of HWIO, (out, in) of (in, out).
        shape = (*place.shape[:-3:-1], *place.shape[:-2]) if kernel else place.shape
        shapes[name] = shape
    return shapes


def write_legacy(path: Path, shapes: Shapes) -> None:
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


def convert(name: str, shapes: Shapes) -> str:
    """Convert such a file; a row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        write_legacy(path, shapes)
        size, start = path.stat().st_size, time.perf_counter()
        command = [sys.executable, "-m", "pigdm_jax.cli.main", "convert", str(path)]
        command.append(str(Path(folder) / "prior"))
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{name} was not converted")
    cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20
    return f"| {name} | {size / 1e9:.2f} | {seconds:.0f} | {cpu:.0f} | {peak:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("networks", nargs="+", choices=list(NETWORKS))
    parser.add_argument("--golden", type=Path, default=Path("../shared/golden"))
    args = parser.parse_args()
    print("| network | file, GB | time, s | time on cores, s | peak, GiB |")
    print("| --- | --- | --- | --- | --- |")
    for name in args.networks:
        print(convert(name, NETWORKS[name](args.golden)), flush=True)


if __name__ == "__main__":
    main()
