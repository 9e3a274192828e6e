"""Reading weight files: both of PyTorch's formats, and safetensors."""

from io import BytesIO

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file
from torch_files import WRITERS, Build, Call, Name, Persistent, flat_state, tensor

from pigdm_convert import CheckpointError
from pigdm_convert.reader import read_checkpoint
from pigdm_convert.unpickler import unpickle

RNG = np.random.default_rng(0)
ARRAYS = {
    "a.weight": RNG.normal(size=(4, 3, 3, 3)).astype("f4"),
    "b.bias": RNG.normal(size=5).astype("f4"),
    "c.scalar": np.array(3, "f4"),
    "d.empty": np.zeros((0, 3), "f4"),
}
FLAT = np.arange(30, dtype="f4")


def read(path):
    tensors = read_checkpoint(path).tensors
    assert all(t.read().shape == t.shape for t in tensors.values())
    assert all(t.read().dtype == t.dtype for t in tensors.values())
    return {name: t.read() for name, t in tensors.items()}


def assert_equal(ours, theirs):
    assert list(ours) == list(theirs)
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("dtype", ["float32", "float16", ml_dtypes.bfloat16])
def test_views_into_a_flat_storage_on_a_gpu_are_read(kind, dtype, tmp_path):
    arrays = {name: array.astype(dtype) for name, array in ARRAYS.items()}
    path = tmp_path / "weights.pt"
    path.write_bytes(WRITERS[kind](*flat_state(arrays)))
    assert_equal(read(path), arrays)


@pytest.mark.parametrize("kind", WRITERS)
def test_strides_are_followed(kind, tmp_path):
    transposed = FLAT[6:18].reshape(4, 3).T
    state = {
        "transposed": tensor("0", transposed, 30, 6, (1, 3)),
        "every other": tensor("0", FLAT[3:13:2], 30, 3, (2,)),
        "expanded": tensor("0", np.broadcast_to(FLAT[7], (5,)), 30, 7, (0,)),
    }
    path = tmp_path / "weights.pt"
    path.write_bytes(WRITERS[kind](state, {"0": FLAT}))
    expected = {
        "transposed": transposed,
        "every other": FLAT[3:13:2],
        "expanded": np.full(5, FLAT[7]),
    }
    assert_equal(read(path), expected)


def test_strings_of_python_2_are_read():
    """torchvision's VGG16 of 2017 and the weights of LPIPS have them."""
    for pickled in (b"\x80\x02U\x03abc.", b"\x80\x02T\x03\0\0\0abc."):
        assert unpickle(BytesIO(pickled)) == "abc"


@pytest.mark.parametrize("kind", WRITERS)
def test_what_old_versions_wrote_is_read(kind, tmp_path):
    """Storages that are parts of others, parameters, and attributes of the dict."""
    part = ("storage", Name("torch", "FloatStorage"), "0", "cpu", 30, ("1", 10, 8))
    hooks = Call(Name("collections", "OrderedDict"), ())
    old = Call(
        Name("torch._utils", "_rebuild_tensor"), (Persistent(part), 2, (3,), (1,))
    )
    parameter = Call(
        Name("torch._utils", "_rebuild_parameter"),
        (tensor("0", FLAT[:4], 30), True, hooks),
    )
    state = {"part": old, "parameter": parameter}
    path = tmp_path / "weights.pt"
    path.write_bytes(WRITERS[kind](Build(state, {"_metadata": {}}), {"0": FLAT}))
    assert_equal(read(path), {"part": FLAT[12:15], "parameter": FLAT[:4]})


@pytest.mark.torch
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("new_format", [True, False])
def test_files_of_real_pytorch_are_read(new_format, protocol, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr("torch.serialization.location_tag", lambda storage: "cuda:0")
    flat = torch.randn(100, requires_grad=True)
    state = {
        "view": flat[10:34].view(2, 3, 4),
        "transposed": flat[40:52].view(3, 4).t(),
        "every other": flat[3:13:2],
        "expanded": flat[7].expand(5),
        "parameter": torch.nn.Parameter(torch.randn(3, 2)),
        "half": torch.randn(4).half(),
        "bfloat16": torch.randn(4).bfloat16(),
        "double": torch.randn(4).double(),
        "scalar": torch.tensor(3.0),
        "empty": torch.zeros(0, 3),
        "sizes": torch.arange(3),
    }
    path = tmp_path / "weights.pt"
    options = {
        "_use_new_zipfile_serialization": new_format,
        "pickle_protocol": protocol,
    }
    torch.save(state, path, **options)
    ours = {name: array.astype("f8") for name, array in read(path).items()}
    theirs = {name: t.detach().double().numpy() for name, t in state.items()}
    assert_equal(ours, theirs)

    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.GroupNorm(2, 4))
    torch.save(module.state_dict(), path, **options)
    theirs = {name: t.numpy() for name, t in module.state_dict().items()}
    assert_equal(read(path), theirs)


@pytest.mark.torch
@pytest.mark.parametrize("kind", WRITERS)
def test_real_pytorch_reads_our_files(kind, tmp_path):
    """So the files that these tests write by hand are what PyTorch writes."""
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.pt"
    path.write_bytes(WRITERS[kind](*flat_state(ARRAYS)))
    state = torch.load(path, map_location="cpu", weights_only=True)
    assert_equal({name: t.numpy() for name, t in state.items()}, ARRAYS)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_safetensors_are_read(suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    arrays = dict(sorted(ARRAYS.items())) | {
        "e": np.ones(3, "f2"),
        "f": np.array([1.5, -2], ml_dtypes.bfloat16),
    }
    save_file(arrays, path)
    assert_equal(dict(sorted(read(path).items())), arrays)
    content = path.read_bytes()
    for end in (20, len(content) - 4):
        path.write_bytes(content[:end])
        with pytest.raises(CheckpointError, match="not a whole safetensors file"):
            read(path)
    save_file({"sizes": np.arange(3)}, path)
    with pytest.raises(CheckpointError, match="sizes is of type I64"):
        read(path)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_that_shrinks_while_it_is_read_is_noticed(kind, tmp_path):
    path = tmp_path / "weights.pt"
    content = WRITERS[kind]({"w": tensor("0", FLAT, 30)}, {"0": FLAT})
    path.write_bytes(content)
    lazy = read_checkpoint(path).tensors["w"]
    path.write_bytes(content[: content.index(FLAT.tobytes()) + 8])
    with pytest.raises(Exception, match="shorter"):
        lazy.read()
