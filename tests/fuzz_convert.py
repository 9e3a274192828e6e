"""Checkpoints damaged on purpose: `python tests/fuzz_convert.py [SECONDS] [SEED]`.

Valid files of each format are mutated and given to `pigdm_convert`. Every one must be
read, or refused in one sentence, without a process, an import or a file of its own, and
with little more memory than twice the file.
"""

import codecs
import io
import json
import random
import struct
import sys
import tempfile
import time
import tracemalloc
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch_files import Raw, flat_state, legacy, pickled, tensor, zipped

from pigdm_convert import CheckpointError, read_checkpoint

ARRAYS = {
    "a.weight": np.arange(108, dtype="f4").reshape(4, 3, 3, 3),
    "b.bias": np.arange(5, dtype="f4"),
    "c.weight": np.ones((8, 16), "f2"),
}
# Beside twice the file: `zipfile` checks sums in pieces of 1 MB.
OVERHEAD = 2**22
FORBIDDEN = (
    *("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn"),
    *("os.remove", "os.rename", "os.mkdir", "os.chmod", "os.link", "os.symlink"),
    *("socket.connect", "shutil.rmtree", "exec", "compile", "import"),
    "pickle.find_class",
)

# Those that `pickletools` and `zipfile` use, whatever the file; imported on first use.
CODECS = ("cp437", "raw_unicode_escape", "unicode_escape", "latin-1", "ascii")

happened: list[str] = []
watching = False


def watch(event: str, arguments: tuple) -> None:
    """Note what reading a file must never do; an audit hook."""
    if not watching:
        return
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & 0o3
    if event in FORBIDDEN or writes:
        happened.append(f"{event} {arguments[:1]}")


def safetensors(arrays: dict[str, np.ndarray]) -> bytes:
    """A file in the format of safetensors."""
    names = {"float32": "F32", "float16": "F16"}
    header, parts, at = {}, [], 0
    for name, array in arrays.items():
        end = at + array.nbytes
        kind, shape = names[array.dtype.name], list(array.shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, end]}
        parts.append(array.tobytes())
        at = end
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def seeds() -> list[bytes]:
    """Valid files of every format."""
    single = {k: v for k, v in ARRAYS.items() if v.dtype == np.float32}
    state, storages = flat_state(single)
    adam = {
        "state": {0: state},
        "param_groups": [{"betas": (0.9, 0.99), "foreach": None}],
    }
    # As JiT's training saves its options: `Namespace.__new__`, then its attributes.
    options = Raw(b"cargparse\nNamespace\n)\x81}X\x02\0\0\0lrG?\xf0\0\0\0\0\0\0sb")
    two = {
        "x": tensor("0", ARRAYS["a.weight"], 108),
        "y": tensor("1", ARRAYS["c.weight"], 128),
    }
    both = {"0": ARRAYS["a.weight"].ravel(), "1": ARRAYS["c.weight"].ravel()}
    return [
        legacy(state, storages),
        zipped(state, storages),
        legacy(two, both),
        legacy({"ema": state, "model": state, "optimizer": adam, "step": 3}, storages),
        zipped({"state_dict": state, "optimizer": adam, "epoch": 1.5}, storages),
        zipped({"model_ema1": state, "model": state, "args": options}, storages),
        zipped(two, both),
        safetensors(ARRAYS),
    ]


HUGE = (0, 1, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
CODES = [bytes([code]) for code in b"cRbtQ)}]NK\x85\x93\x81oi.(hq\x8e\x8d\x88"]


def flip(content: bytes, rng: random.Random) -> bytes:
    """Some bits turned."""
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    """The beginning, or without a part in the middle."""
    a, b = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return rng.choice([content[:a], content[:a] + content[b:]])


def repeat(content: bytes, rng: random.Random) -> bytes:
    """A part once more, elsewhere."""
    a, b, at = (rng.randrange(len(content) + 1) for _ in range(3))
    return content[:at] + content[min(a, b) : max(a, b)] + content[at:]


def resize(content: bytes, rng: random.Random) -> bytes:
    """A number of 2, 4 or 8 bytes replaced by an extreme one, or two swapped."""
    changed, size = bytearray(content), rng.choice([2, 4, 8])
    at, other = (rng.randrange(max(1, len(content) - size)) for _ in range(2))
    if rng.random() < 0.3:
        changed[at : at + size] = content[other : other + size]
        changed[other : other + size] = content[at : at + size]
    else:
        number = rng.choice(HUGE) % 2 ** (8 * size)
        changed[at : at + size] = number.to_bytes(size, "little")
    return bytes(changed)


def digits(content: bytes, rng: random.Random) -> bytes:
    """A decimal number in text replaced by an extreme one; sizes in safetensors."""
    places = [i for i, byte in enumerate(content[:2000]) if chr(byte).isdigit()]
    if not places:
        return flip(content, rng)
    at = rng.choice(places)
    number = rng.choice([*map(str, HUGE), "-1", "1e9", "null", "[]", '"0"'])
    changed = content[:at] + number.encode() + content[at + 1 :]
    if content[8:9] == b"{":
        length = struct.unpack("<Q", content[:8])[0] + len(changed) - len(content)
        changed = struct.pack("<Q", max(0, length)) + changed[8:]
    return changed


def code(content: bytes, rng: random.Random) -> bytes:
    """Instructions of pickle put in, or in the place of others."""
    at = rng.randrange(len(content))
    harm = b"cos\nsystem\n(X\x04\x00\x00\x00exittR"
    new = rng.choice([*CODES, harm, b"(" * 50, b"\x85" * 500, b"]" * 100])
    return content[:at] + new + content[at + rng.choice([0, len(new)]) :]


def shapes(content: bytes, rng: random.Random) -> bytes:
    """A tensor whose declared shape, strides or storage are extreme."""
    del content

    def size() -> int:
        return rng.choice([-1, 0, 1, 3, 8, 2**31, 2**40, 2**62, 2**200])

    whole, offset = size(), size()
    shape, strides = (tuple(size() for _ in range(rng.randrange(4))) for _ in "ab")
    view = tensor("0", ARRAYS["b.bias"], whole, offset, strides)
    arguments = (*view.arguments[:2], shape, *view.arguments[3:])
    state = {"w": view._replace(arguments=arguments)}
    return rng.choice([legacy, zipped])(state, {"0": ARRAYS["b.bias"]})


def archives(content: bytes, rng: random.Random) -> bytes:
    """A zip file in, before or behind another; members that lie about their size."""
    inner = zipped({"w": tensor("0", ARRAYS["b.bias"], 5)}, {"0": ARRAYS["b.bias"]})
    file = io.BytesIO()
    packing = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    with zipfile.ZipFile(file, "w", packing) as archive:
        name = rng.choice(["a/data.pkl", "data.pkl", "../data.pkl", "/a/data.pkl", "a"])
        zeros = bytes(rng.choice([10**6, 4 * 10**6]))
        kinds = [content, inner, zeros, pickled(Raw(b"}"))]
        archive.writestr(name, rng.choice(kinds))
        archive.writestr("a/data/0", inner)
    outer = file.getvalue()
    return rng.choice([outer, content + outer, outer + content, resize(outer, rng)])


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    *(flip, cut, repeat, resize, digits, code, shapes, archives)
]


def check(path: Path, content: bytes) -> str:
    """Read a file; its outcome, "read" or "refused".

    Raises:
      AssertionError: if anything else happens.
    """
    global watching
    path.write_bytes(content)
    before = sorted(path.parent.iterdir())
    happened.clear()
    tracemalloc.reset_peak()
    start = tracemalloc.get_traced_memory()[0]
    watching = True
    try:
        for part in read_checkpoint(path).tensors.values():
            assert part.read().shape == part.shape
        outcome = "read"
    except CheckpointError as error:
        outcome = "refused"
        assert str(error).isprintable() and len(str(error)) < 3000, str(error)[:200]
    finally:
        watching = False
    peak = tracemalloc.get_traced_memory()[1] - start
    assert peak <= 2 * len(content) + OVERHEAD, f"{peak} bytes for {len(content)}"
    assert not happened, happened
    assert sorted(path.parent.iterdir()) == before, "a file was left behind"
    return outcome


def fuzz(seconds: float, seed: int) -> Counter[str]:
    """Mutate and read until the time is over; how often each outcome occurred.

    Raises:
      AssertionError: at the first violation, with the mutated file's number.
    """
    rng, valid, counts = random.Random(seed), seeds(), Counter[str]()
    for name in CODECS:
        codecs.lookup(name)
    sys.addaudithook(watch)
    tracemalloc.start()
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pt"
        for content in valid:
            path.write_bytes(content)
            for part in read_checkpoint(path).tensors.values():
                part.read()  # safetensors is imported on first use
            assert check(path, content) == "read"
        while time.monotonic() < end:
            content = rng.choice(valid)
            for _ in range(rng.choice([1, 1, 2, 3])):
                if content:
                    content = rng.choice(MUTATIONS)(content, rng)
            try:
                counts[check(path, content)] += 1
            except Exception as error:
                kept = Path(tempfile.gettempdir()) / f"fuzz-{seed}.pt"
                kept.write_bytes(content)
                raise AssertionError(f"{error}; the file is {kept}") from error
    tracemalloc.stop()
    return counts


if __name__ == "__main__":
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3600
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    print(dict(fuzz(seconds, seed)))
