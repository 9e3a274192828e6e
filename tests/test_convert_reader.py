"""Reading weight files: both of PyTorch's formats, safetensors, and hostile ones."""

import numpy as np
import pytest
from torch_files import WRITERS, Build, Call, Name, flat_state, legacy, tensor, zipped

from pigdm_convert import CheckpointError
from pigdm_convert.reader import read_checkpoint

RNG = np.random.default_rng(0)
ARRAYS = {
    "a.weight": RNG.normal(size=(4, 3, 3, 3)).astype("f4"),
    "b.bias": RNG.normal(size=5).astype("f4"),
    "c.scalar": np.array(3, "f4"),
    "d.empty": np.zeros((0, 3), "f4"),
}


def read(path):
    tensors = read_checkpoint(path).tensors
    assert all(t.read().shape == t.shape for t in tensors.values())
    return {name: t.read() for name, t in tensors.items()}


def refused(path, content=None):
    """The one sentence that answers a file."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read(path)
    sentence = str(caught.value)
    assert "\n" not in sentence and str(path) in sentence
    return sentence


def assert_equal(ours, theirs):
    assert list(ours) == list(theirs)
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_views_into_a_flat_storage_on_a_gpu_are_read(kind, dtype, tmp_path):
    arrays = {name: array.astype(dtype) for name, array in ARRAYS.items()}
    path = tmp_path / "weights.pt"
    path.write_bytes(WRITERS[kind](*flat_state(arrays)))
    assert_equal(read(path), arrays)


@pytest.mark.parametrize("kind", WRITERS)
def test_strides_are_followed(kind, tmp_path):
    flat = np.arange(30, dtype="f4")
    transposed = flat[6:18].reshape(4, 3).T
    state = {
        "transposed": tensor("0", transposed, 30, 6, (1, 3)),
        "every other": tensor("0", flat[3:13:2], 30, 3, (2,)),
        "expanded": tensor("0", np.broadcast_to(flat[7], (5,)), 30, 7, (0,)),
    }
    path = tmp_path / "weights.pt"
    path.write_bytes(WRITERS[kind](state, {"0": flat}))
    expected = {
        "transposed": transposed,
        "every other": flat[3:13:2],
        "expanded": np.full(5, flat[7]),
    }
    assert_equal(read(path), expected)


@pytest.mark.torch
@pytest.mark.parametrize("new_format", [True, False])
def test_files_of_real_pytorch_are_read(new_format, tmp_path):
    torch = pytest.importorskip("torch")
    flat = torch.randn(100)
    state = {
        "view": flat[10:34].view(2, 3, 4),
        "transposed": flat[40:52].view(3, 4).t(),
        "parameter": torch.nn.Parameter(torch.randn(3, 2)),
        "half": torch.randn(4).half(),
        "bfloat16": torch.randn(4).bfloat16(),
        "steps": torch.arange(3),
    }
    path = tmp_path / "weights.pt"
    torch.save(state, path, _use_new_zipfile_serialization=new_format)
    ours = {name: array.astype("f4") for name, array in read(path).items()}
    theirs = {name: t.detach().float().numpy() for name, t in state.items()}
    assert_equal(ours, theirs)

    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.GroupNorm(2, 4))
    torch.save(module.state_dict(), path, _use_new_zipfile_serialization=new_format)
    theirs = {name: t.numpy() for name, t in module.state_dict().items()}
    assert_equal(read(path), theirs)


@pytest.mark.torch
def test_programs_of_torchscript_are_refused(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "program.pt"
    with pytest.warns(DeprecationWarning):
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    assert "TorchScript" in refused(path)


def test_safetensors_are_read(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "weights.safetensors"
    arrays = dict(sorted(ARRAYS.items())) | {"e": np.ones(3, "f2")}
    numpy.save_file(arrays, path)
    assert_equal(dict(sorted(read(path).items())), arrays)
    content = path.read_bytes()
    assert "no whole safetensors file" in refused(path, content[:-4])
    assert "no whole safetensors file" in refused(path, content[:20])


def hostile(target):
    """Things that a careless reader would run, each leaving a file behind."""
    touch = Call(Name("os", "system"), (f"touch {target}",))
    good = tensor("0", ARRAYS["b.bias"], 5)
    return {
        "instead of the state": touch,
        "beside a tensor": {"w": good, "x": touch},
        "as a state": {"w": Build(good, touch)},
        "by eval": Call(Name("builtins", "eval"), (f"open({str(target)!r}, 'w')",)),
        "by attribute": Call(Name("torch.serialization", "os.system"), ("true",)),
        "as an argument": {"w": good._replace(arguments=(*good.arguments[:5], touch))},
    }


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("way", hostile(""))
def test_nothing_in_a_file_is_run(kind, way, tmp_path):
    target = tmp_path / "ran"
    content = WRITERS[kind](hostile(target)[way], {"0": ARRAYS["b.bias"]})
    sentence = refused(tmp_path / "weights.pt", content)
    assert not target.exists()
    assert "system" in sentence or "eval" in sentence


@pytest.mark.parametrize("kind", WRITERS)
def test_stand_ins_cannot_be_changed(kind, tmp_path):
    """Setting state on what stands in for PyTorch's functions fails."""
    rebuild = Name("torch._utils", "_rebuild_tensor_v2")
    good = tensor("0", ARRAYS["b.bias"], 5)
    storages = {"0": ARRAYS["b.bias"]}
    for name in (rebuild, Name("torch", "FloatStorage")):
        changed = {"w": Build(name, (None, {"__call__": 1, "dtype": 2}))}
        assert "damaged" in refused(
            tmp_path / "weights.pt", WRITERS[kind](changed, storages)
        )
    (tmp_path / "weights.pt").write_bytes(WRITERS[kind]({"w": good}, storages))
    assert_equal(read(tmp_path / "weights.pt"), {"w": ARRAYS["b.bias"]})


@pytest.mark.parametrize("kind", WRITERS)
def test_tensors_stay_inside_of_their_storage(kind, tmp_path):
    flat = np.arange(8, dtype="f4")
    huge = np.broadcast_to(flat[0], (2**40,))
    for bad in (
        tensor("0", flat, 8, offset=1),
        tensor("0", flat[:4], 8, 0, (3,)),
        tensor("0", huge, 8, 0, (0,)),
        tensor("0", flat, 8, offset=-1),
        tensor("0", flat, 8, 0, (1, 1)),
        tensor("0", flat, 2**50),
        tensor("1", flat, 8),
    ):
        content = WRITERS[kind]({"w": bad}, {"0": flat})
        refused(tmp_path / "weights.pt", content)


@pytest.mark.parametrize("kind", WRITERS)
def test_files_that_end_early_are_refused(kind, tmp_path):
    content = WRITERS[kind](*flat_state(ARRAYS))
    for share in range(10):
        end = len(content) * share // 10
        sentence = refused(tmp_path / "weights.pt", content[:end])
        assert any(w in sentence for w in ("whole", "damaged", "formats", "missing"))
    refused(tmp_path / "weights.pt", content[:-1])


def test_damaged_numbers_are_noticed(tmp_path):
    content = bytearray(zipped(*flat_state(ARRAYS)))
    place = bytes(content).find(ARRAYS["a.weight"].tobytes()) + 40
    content[place] ^= 1
    assert "damaged" in refused(tmp_path / "weights.pt", bytes(content))


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "none of the formats"),
        (b"<html>Not found</html>", "none of the formats"),
        (b"\x93NUMPY" + bytes(80), "none of the formats"),
        (b"\x80\x02K\x01.", "not one of PyTorch's"),
        (b"PK\x03\x04" + bytes(100), "not whole"),
        (legacy({}, {}), "no state dict"),
        (legacy([1, 2], {}), "no state dict"),
        (legacy({"step": 3}, {}), "more than tensors: step"),
        (legacy({"model": {}, "optimizer": {}}, {}), "inside of model, optimizer"),
        (zipped({"model": {}, "step": 3}, {}), "inside of model"),
        (zipped({}, {}, **{"code/a.py": "x"}), "TorchScript"),
        (zipped({}, {}, byteorder2=""), "no state dict"),
    ],
)
def test_other_files_are_told_apart(content, words, tmp_path):
    assert words in refused(tmp_path / "weights.pt", content)


def test_missing_files_and_folders_are_answered(tmp_path):
    assert "no file" in refused(tmp_path / "nowhere.pt")
    assert "cannot be read" in refused(tmp_path)
