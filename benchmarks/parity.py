"""Relative L2 errors of the Flax UNet against outputs of the original PyTorch one.

    python benchmarks/parity.py ../shared tiny_a 256x256_diffusion_uncond

Fair bounds in float32 are 5e-5 for outputs and 2e-4 for gradients. The full-size ones
need about 5 GB.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import golden


def main() -> None:
    shared, *names = sys.argv[1:]
    for name in names:
        found = golden.errors(Path(shared), name)
        text = ", ".join(f"{part} {error:.1e}" for part, error in found.items())
        print(f"{name}: {text}", flush=True)


if __name__ == "__main__":
    main()
