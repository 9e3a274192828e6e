"""Files that are not what they should be: hostile, damaged, cut, foreign."""

import io
import os
import random
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fuzzing import fuzzed
from torch_files import (
    WRITERS,
    Build,
    Call,
    Name,
    Persistent,
    Raw,
    flat_state,
    legacy,
    tensor,
    zipped,
)

from pigdm_convert import CheckpointError
from pigdm_convert.reader import read_checkpoint

FLAT = np.arange(8, dtype="f4")
STORAGES = {"0": FLAT}
GOOD = tensor("0", FLAT, 8)
ARRAYS = {
    "a.weight": np.arange(108, dtype="f4").reshape(4, 3, 3, 3),
    "b.bias": np.arange(5, dtype="f4"),
}


def read(path):
    return {name: t.read() for name, t in read_checkpoint(path).tensors.items()}


def refused(path, content=None):
    """The one sentence that answers a file."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read(path)
    sentence = str(caught.value)
    assert sentence.isprintable() and str(path) in sentence
    return sentence


def text(string):
    return b"X" + struct.pack("<I", len(string)) + string.encode()


def hostile(target):
    """Things that a careless reader would run, each leaving a file behind."""
    command = f"touch {target}"
    touch = Call(Name("os", "system"), (command,))
    by_stack = Raw(text("os") + text("system") + b"\x93")
    extended = Raw(b"c__builtin__\nmap\ncos\nsystem\n](" + text(command) + b"e\x86R")
    return {
        "instead of the state": touch,
        "beside a tensor": {"w": GOOD, "x": touch},
        "as a state": {"w": Build(GOOD, touch)},
        "as a state of the whole": Build({"w": GOOD}, {"__class__": touch}),
        "by eval": Call(Name("builtins", "eval"), (f"open({str(target)!r}, 'w')",)),
        "by attribute": Call(Name("torch.serialization", "os.system"), (command,)),
        "as an argument": {"w": GOOD._replace(arguments=(*GOOD.arguments[:5], touch))},
        "by STACK_GLOBAL": Call(by_stack, (command,)),
        "by INST": Raw(b"(" + text(command) + b"ios\nsystem\n"),
        "by OBJ": Raw(b"(cos\nsystem\n" + text(command) + b"o"),
        "by NEWOBJ": Raw(b"cos\nsystem\n(" + text(command) + b"t\x81"),
        "by map": extended,
        "as a storage": {"w": tensor("0", FLAT, touch)},
        "as a reference": Persistent(("storage", touch, "0", "cpu", 8)),
    }


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("way", hostile(""))
def test_nothing_in_a_file_is_run(kind, way, tmp_path):
    target = tmp_path / "ran"
    sentence = refused(
        tmp_path / "weights.pt", WRITERS[kind](hostile(target)[way], STORAGES)
    )
    assert not target.exists()
    assert "nothing was run" in sentence
    assert any(name in sentence for name in ("system", "eval", "map"))


def test_the_hostile_files_do_harm_where_they_are_run(tmp_path):
    """So that refusing them means something."""
    import pickle

    from torch_files import pickled

    target = tmp_path / "ran"
    pickle.loads(pickled(hostile(target)["by STACK_GLOBAL"]))
    assert target.exists()


REBUILD = Name("torch._utils", "_rebuild_tensor_v2")
STORAGE_TYPE = Name("torch", "FloatStorage")
ORDERED_DICT = Name("collections", "OrderedDict")
CIRCLE = Raw(b"]q\x01h\x01a")
DEEP = Raw(b")" + b"\x85" * 100_000)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    "state",
    [
        Build(REBUILD, {"__code__": 1}),
        Build(STORAGE_TYPE, (None, {"dtype": 2})),
        Build(GOOD, {"offset": 2**40}),
        Call(STORAGE_TYPE, ()),
        Call(GOOD, ()),
        Call(REBUILD, (5, 0, (1,), (1,))),
        Call(REBUILD, ()),
        Call(ORDERED_DICT, (5,)),
        Call(ORDERED_DICT, ([[DEEP, 1]],)),
        Raw(b"K\x01K\x02a"),
        Raw(b"K\x01K\x02K\x03s"),
        Raw(b"}(K\x01u"),
        Raw(b"a"),
        Raw(b"t"),
        Raw(b"h\x07"),
        Raw(b"\x82\x01"),
        Raw(b"\xff"),
        Raw(b"K\x05K\x06\x93"),
        CIRCLE,
        {DEEP: 1},
        {"w": DEEP},
        Persistent(DEEP),
        Raw(b"\x8e" + struct.pack("<Q", 2**45)),
        Raw(b"\x8b" + struct.pack("<i", 2**30)),
        Raw(b"\x95" + struct.pack("<Q", 2**45)),
        {"w\nx\x1b[2J": 3},
    ],
)
def test_machinery_cannot_be_abused(kind, state, tmp_path):
    refused(tmp_path / "weights.pt", WRITERS[kind](state, STORAGES))


def test_names_of_a_file_cannot_steer_a_terminal(tmp_path):
    path = tmp_path / "weights.pt"
    assert "w?x?[2J" in refused(path, legacy({"w\nx\x1b[2J": 3, "v": GOOD}, STORAGES))


@pytest.mark.parametrize("kind", WRITERS)
def test_small_files_cannot_ask_for_much_memory(kind, tmp_path):
    bombs = [
        Raw(b"}r" + struct.pack("<I", 2**32 - 1)),
        Raw(b"\x8e" + struct.pack("<Q", 2**33)),
        {"w": tensor("0", np.broadcast_to(FLAT[0], (2**40,)), 2**41, 0, (0,))},
        {"w": tensor("0", np.broadcast_to(FLAT[0], (2**40,)), 8, 0, (0,))},
    ]
    for bomb in bombs:
        (tmp_path / "weights.pt").write_bytes(WRITERS[kind](bomb, STORAGES))
        tracemalloc.start()
        refused(tmp_path / "weights.pt")
        assert tracemalloc.get_traced_memory()[1] < 2**25
        tracemalloc.stop()


@pytest.mark.parametrize("kind", WRITERS)
def test_tensors_stay_inside_of_their_storage(kind, tmp_path):
    part = ("storage", STORAGE_TYPE, "0", "cpu", 8, ("1", 4, 5))
    for bad in (
        tensor("0", FLAT, 8, offset=1),
        tensor("0", FLAT[:4], 8, 0, (3,)),
        tensor("0", FLAT, 8, offset=-1),
        tensor("0", FLAT, 8, 7, (-1,)),
        tensor("0", FLAT, 8, 0, (1, 1)),
        tensor("0", FLAT, 8, 0, (1.0,)),
        tensor("0", FLAT, 2**50),
        tensor("0", FLAT, -8),
        tensor("1", FLAT, 8),
        Call(REBUILD, (Persistent(part), 0, (4,), (1,))),
        Call(REBUILD, (Persistent((*part[:5], ("1", 0, 3))), 0, (4,), (1,))),
        Call(REBUILD, (Persistent((*part[:5], 3)), 0, (4,), (1,))),
    ):
        refused(tmp_path / "weights.pt", WRITERS[kind]({"w": bad}, STORAGES))
    twice = {"w": GOOD, "v": tensor("0", FLAT[:4], 4)}
    refused(tmp_path / "weights.pt", WRITERS[kind](twice, STORAGES))


@pytest.mark.parametrize("kind", WRITERS)
def test_files_that_end_early_are_refused(kind, tmp_path):
    content = WRITERS[kind](*flat_state(ARRAYS))
    for end in {*range(0, len(content), len(content) // 40), len(content) - 1}:
        sentence = refused(tmp_path / "weights.pt", content[:end])
        words = ("whole", "damaged", "formats", "missing", "empty")
        assert any(word in sentence for word in words)


@pytest.mark.parametrize("kind", WRITERS)
def test_damage_is_read_or_answered_but_never_a_crash(kind, tmp_path):
    path = tmp_path / "weights.pt"
    content = WRITERS[kind](*flat_state(ARRAYS))
    rng = random.Random(0)
    for _ in range(1000):
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 1, 3])):
            damaged[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            read(path)
        except CheckpointError as error:
            assert str(error).isprintable()


def test_a_fuzzer_finds_nothing():
    """In a process of its own, because it watches what Python does; see the script."""
    done = fuzzed("fuzz_convert.py")
    assert done.returncode == 0, done.stderr
    assert "'refused'" in done.stdout and "'read'" in done.stdout


def test_damaged_numbers_are_noticed(tmp_path):
    content = bytearray(zipped(*flat_state(ARRAYS)))
    place = bytes(content).find(ARRAYS["a.weight"].tobytes()) + 40
    content[place] ^= 1
    assert "damaged" in refused(tmp_path / "weights.pt", bytes(content))


def tar():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    return file.getvalue()


def compressed():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10_000))
    return file.getvalue()


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "it is empty"),
        (b"<html>Not found</html>", "a web page"),
        (b"\n<!DOCTYPE html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"weights", "none of the formats"),
        (b"\x93NUMPY" + bytes(80), "none of the formats"),
        (tar(), "oldest format (tar)"),
        (compressed(), "compressed"),
        (b"\x80\x02K\x01.", "not one of PyTorch's"),
        (b"PK\x03\x04" + bytes(100), "not whole"),
        (legacy({}, {}), "not a state dict"),
        (legacy([1, 2], {}), "not a state dict"),
        (
            legacy({"step": 3}, {}),
            "not a state dict of tensors by name (it holds step)",
        ),
        (legacy({"w": GOOD, "size": 3}, STORAGES), "more than tensors: size"),
        (legacy({1: GOOD}, STORAGES), "not a state dict"),
        (legacy({"w": GOOD}, STORAGES | {"1": FLAT}), "belongs to no tensor"),
        (legacy({"w": GOOD}, {"0": FLAT[:4]}), "not whole"),
        (legacy({"w": GOOD}, {"0": FLAT[:4], "1": FLAT}), "not as large"),
        (legacy({"model": {}, "optimizer": {0: 1}}, {}), "holds model, optimizer"),
        (zipped({"step": 3, "model": {}}, {}), "checkpoint['model']"),
        (zipped({}, {}, **{"code/a.py": "x"}), "TorchScript"),
        (zipped({}, {}, root="big", **{"data/0": "x"}), "not a state dict"),
        (zipped({}, {}, **{"inner/data.pkl": "x"}), "not a state dict"),
        (Raw(b"cnumpy.core.multiarray\nscalar\n"), "numpy.core.multiarray.scalar"),
        (Raw(b"cmodels\nUNet\n"), "state_dict() alone"),
    ],
)
def test_other_files_are_told_apart(content, words, tmp_path):
    if isinstance(content, Raw):
        content = legacy(content, {})
    assert words in refused(tmp_path / "weights.pt", content)


def test_big_endian_files_are_refused(tmp_path):
    path = tmp_path / "weights.pt"
    content = legacy({"w": GOOD}, STORAGES)
    assert "big-endian" in refused(path, content.replace(b"\x88", b"\x89", 1))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        archive.writestr("a/byteorder", "big")
    assert "big-endian" in refused(path, content.getvalue())


def test_missing_files_and_folders_are_answered(tmp_path):
    assert "no file" in refused(tmp_path / "nowhere.pt")
    assert "too long" in refused(tmp_path / ("a" * 300))
    (tmp_path / "loop").symlink_to("loop")
    assert "cannot be read" in refused(tmp_path / "loop")


def test_pipes_and_devices_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), Path("/dev/stdin")):
        assert "no regular file" in refused(path)
    assert "a folder without config.json" in refused(tmp_path)


@pytest.mark.torch
def test_programs_and_networks_of_real_pytorch_are_refused(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "program.pt"
    with pytest.warns((DeprecationWarning, FutureWarning)):
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    assert "TorchScript" in refused(path)
    for new_format in (True, False):
        network = torch.nn.Linear(2, 2)
        torch.save(network, path, _use_new_zipfile_serialization=new_format)
        assert "state_dict()" in refused(path)
        optimizer = torch.optim.Adam(network.parameters())
        everything = {
            "state_dict": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": 3,
        }
        torch.save(everything, path, _use_new_zipfile_serialization=new_format)
        assert set(read(path)) == {"weight", "bias"}
