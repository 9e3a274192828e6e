"""Networks of metrics: against their PyTorch originals, and from files."""

import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_vision
from loopback import Reply, served
from test_evaluation import write
from torch_files import flat_state, legacy

import pigdm_jax as pj
from pigdm_jax.metrics import METRICS, evaluate_folders, load_network
from pigdm_jax.metrics.classification import top
from pigdm_jax.metrics.networks import inception, perceptual, resnet
from pigdm_jax.weights import catalogue as catalogue_module
from pigdm_jax.weights.cache import obtained

# Shapes of AlexNet's convolutions, by torchvision's number.
ALEXNET = {
    0: (64, 3, 11, 11),
    3: (192, 64, 5, 5),
    6: (384, 192, 3, 3),
    8: (256, 384, 3, 3),
    10: (256, 256, 3, 3),
}


def images(count, *size, seed=0):
    shape = (count, *size, 3)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def compare(ours, theirs, tolerance):
    theirs = theirs.detach().numpy()
    assert np.abs(np.asarray(ours) - theirs).max() < tolerance * np.abs(theirs).max()


@pytest.mark.torch
def test_inception_has_the_features_of_pytorch_fid(monkeypatch):
    pytest.importorskip("torch")
    models = torch_vision.load()
    original = pytest.importorskip("pytorch_fid.inception")

    tensors = {}

    def randomise(network, state):
        del state
        tensors.update(torch_vision.tensors(torch_vision.randomise(network)))

    monkeypatch.setattr(original, "load_state_dict_from_url", lambda *_, **__: None)
    monkeypatch.setattr(models.inception.Inception3, "load_state_dict", randomise)
    network = original.InceptionV3().eval()
    ours = inception.build([tensors])
    for size in ((256, 256), (70, 400)):
        x = images(2, *size)
        theirs = network((torch_vision.channels_first(x) + 1) / 2)[0][:, :, 0, 0]
        assert theirs.shape == (2, 2048)
        compare(jax.jit(jax.vmap(ours))(x), theirs, 1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["alex", "vgg"])
@pytest.mark.filterwarnings("ignore")
def test_lpips_is_that_of_its_authors(name):
    pytest.importorskip("torch")
    models = torch_vision.load()
    lpips = pytest.importorskip("lpips")
    original = lpips.LPIPS(pretrained=False, pnet_rand=True, net=name, verbose=False)
    backbone = (models.alexnet if name == "alex" else models.vgg16)(weights=None)
    state = torch_vision.randomise(backbone).features.state_dict()
    original.net.load_state_dict(
        {key: state[key.split(".", 1)[1]] for key in original.net.state_dict()}
    )
    heads = torch_vision.tensors(original)
    rng = np.random.default_rng(0)
    for key in heads:
        if key.startswith("lin"):
            heads[key][...] = rng.uniform(0, 1, heads[key].shape)
    build = perceptual.build_alex if name == "alex" else perceptual.build_vgg
    ours = build([torch_vision.tensors(backbone), heads])
    x = images(2, 64, 80)
    y = np.clip(x + 0.3 * images(2, 64, 80, seed=1), -1, 1)
    theirs = original(*map(torch_vision.channels_first, (x, y)))[:, 0, 0, 0]
    compare(jax.vmap(ours)(x, y), theirs, 1e-4)
    assert float(ours(x[0], x[0])) == 0


@pytest.mark.torch
def test_the_classifier_is_torchvisions():
    torch = pytest.importorskip("torch")
    network = torch_vision.randomise(torch_vision.load().resnet50(weights=None))
    ours = resnet.build([torch_vision.tensors(network)])
    x = images(2, 40, 50)
    prepared = jax.vmap(ours.prepare)(x)
    assert prepared.shape == (2, 224, 224, 3)
    compare(
        jax.vmap(ours.features)(prepared),
        network(torch_vision.channels_first(prepared)),
        1e-5,
    )
    # As torchvision's preset: the short side to 256 pixels, the middle 224 x 224.
    for size, resized in (((40, 50), (256, 320)), ((700, 512), (350, 256))):
        x = images(1, *size)
        interpolated = torch.nn.functional.interpolate(
            (torch_vision.channels_first(x) + 1) / 2,
            resized,
            mode="bilinear",
            antialias=True,
        )
        top, left = (round((side - 224) / 2) for side in resized)
        cut = interpolated[..., top : top + 224, left : left + 224]
        mean, std = (
            torch.tensor(v).reshape(1, 3, 1, 1) for v in (resnet.MEAN, resnet.STD)
        )
        ours_cut = np.moveaxis(np.asarray(ours.prepare(x[0])), -1, 0)[None]
        compare(ours_cut, (cut - mean) / std, 1e-5)


def alexnet_tensors():
    rng = np.random.default_rng(0)
    found = {}
    for number, shape in ALEXNET.items():
        scale = (2 / np.prod(shape[1:])) ** 0.5
        weight = scale * rng.normal(size=shape)
        found[f"features.{number}.weight"] = weight.astype(np.float32)
        found[f"features.{number}.bias"] = np.zeros(shape[0], np.float32)
    return found


def head_tensors():
    rng = np.random.default_rng(1)
    return {
        f"lin{i}.model.1.weight": rng.uniform(0, 1, (1, shape[0], 1, 1)).astype("f4")
        for i, shape in enumerate(ALEXNET.values())
    }


@pytest.fixture
def served_alexnet(tmp_path, monkeypatch):
    """A catalogue whose LPIPS has random weights, served on loopback."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("PIGDM_WEIGHTS", str(tmp_path / "weights"))
    bodies = {
        "alexnet.pth": legacy(*flat_state(alexnet_tensors())),
        "alex.pth": legacy(*flat_state(head_tensors())),
    }
    with served() as (address, replies):
        lines = ["[lpips-alex]", 'kind = "metric"', "description = 'random'"]
        lines += ["licence = 'CC0'", f"home = '{address}'"]
        for name, body in bodies.items():
            replies[f"/{name}"] = Reply(body)
            digest = hashlib.sha256(body).hexdigest()[:8]
            lines += ["[[lpips-alex.files]]", f"mirrors = ['{address}/{name}']"]
            lines += [f"digest = {json.dumps(f'sha256:{digest}')}"]
        (tmp_path / "catalogue.toml").write_text("\n".join(lines))
        monkeypatch.setattr(catalogue_module, "CATALOGUE", tmp_path / "catalogue.toml")
        yield replies


def test_weights_are_downloaded_once_and_verified(served_alexnet, tmp_path):
    write(tmp_path / "restored", "a.png", (40, 50), 0)
    write(tmp_path / "clean", "a.png", (40, 50), 1)
    both = tmp_path / "restored", tmp_path / "clean"
    calls = []
    found = evaluate_folders(
        *both, ["lpips", "psnr"], obtaining=lambda *call: calls.append(call)
    )
    value = found.per_image["lpips"]["a.png"]
    assert value > 0 and calls
    network = load_network("lpips_alex")
    pair = [pj.read_image(folder / "a.png") for folder in both]
    np.testing.assert_allclose(METRICS["lpips"](network, *pair), value, rtol=1e-5)
    assert [reply.requests for reply in served_alexnet.values()] == [1, 1]
    assert obtained() == []  # those are priors
    file = tmp_path / "weights/metrics/lpips-alex/alex.pth"
    file.write_bytes(file.read_bytes()[:-1])
    load_network("lpips_alex")
    assert [reply.requests for reply in served_alexnet.values()] == [1, 2]


def test_weights_that_are_missing_or_wrong_are_one_sentence(served_alexnet, tmp_path):
    reply = served_alexnet["/alex.pth"]
    served_alexnet["/alex.pth"] = Reply(b"no", 404)
    with pytest.raises(ValueError, match="answers 404; or put the file that you"):
        load_network("lpips_alex")
    file = tmp_path / "weights/metrics/lpips-alex/alex.pth"
    file.write_bytes(reply.body)
    assert load_network("lpips_alex").heads[0].shape == (64,)


def test_tensors_of_another_network_are_refused():
    tensors, heads = alexnet_tensors(), head_tensors()
    for change, said in (
        ({"features.3.weight": None}, "no tensor features.3.weight"),
        ({"features.3.weight": np.ones((192, 64, 3, 3))}, "tensor of 3 has the shape"),
    ):
        wrong = {k: v for k, v in (tensors | change).items() if v is not None}
        with pytest.raises(ValueError, match=said):
            perceptual.build_alex([wrong, heads])
    with pytest.raises(ValueError, match="no tensor lin0"):
        perceptual.build_alex([tensors, {}])


def test_ranks_of_labels():
    logits = jnp.array([0.0, 3.0, 1.0, 2.0])
    for count, expected in ((1, [0, 100, 0, 0]), (2, [0, 100, 0, 100])):
        found = [float(top(count, logits, jnp.int32(i))) for i in range(4)]
        assert found == expected
