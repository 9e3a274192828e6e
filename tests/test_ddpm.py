"""The DDPM UNet and its flow sibling: every layout against its PyTorch network."""

import json
import shutil

import golden
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pigdm_jax import load_prior
from pigdm_jax.networks.ddpm.keys import torch_names
from pigdm_jax.weights.conversion import convert

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

BLOCKS = {
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}
# As google/ddpm-celebahq-256, but small.
HO = {
    **BLOCKS,
    "sample_size": 16,
    "block_out_channels": [32, 64, 64],
    "layers_per_block": 2,
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
    "norm_num_groups": 32,
}
# As diffusers' own training examples, with a label and a learned variance.
OWN = {
    **BLOCKS,
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D", "AttnUpBlock2D"],
    "sample_size": [16, 16],
    "block_out_channels": [24, 48, 48],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "out_channels": 6,
    "num_class_embeds": 5,
    "resnet_time_scale_shift": "scale_shift",
}
GREY = HO | {"in_channels": 1, "out_channels": 1, "add_attention": False}
MID_NORM = OWN | {"attn_norm_num_groups": 4, "num_class_embeds": None}


@pytest.fixture(scope="module")
def diffusers():
    """The package, which warns when it is imported."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = pytest.importorskip("diffusers")
        package.UNet2DModel  # noqa: B018, imported on first use
        return package


def randomised(model):
    """The network with every tensor random, norms too."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            width = parameter[0].numel() if parameter.ndim > 1 else 100
            scale = 1 + 0.3 * noise if "norm" in name and "weight" in name else None
            parameter.copy_(noise / width**0.5 if scale is None else scale)
    return model.eval()


def differences(prior, model, channels, t, side=16, label=None):
    """Relative errors of our outputs and input-gradients."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, channels, side, side)).astype("f4")
    their_x = torch.tensor(x, requires_grad=True)
    options = {} if label is None else {"class_labels": torch.tensor(label)}
    out = model(their_x, torch.tensor(t), **options)
    out = out if torch.is_tensor(out) else out.sample
    v = rng.standard_normal(tuple(out.shape)).astype("f4")
    out.backward(torch.tensor(v))

    def call(x):
        times = jnp.asarray(t, jnp.float32)
        labels = None if label is None else jnp.asarray(label)
        return prior.network.apply({"params": prior.params}, x, times, labels)

    @jax.jit
    def pulled(x, v):
        out, back = jax.vjp(call, x)
        return out, back(v)[0]

    ours, gradient = pulled(*(np.moveaxis(a, 1, -1) for a in (x, v)))
    return (
        golden.relative_error(np.moveaxis(ours, -1, 1), out.detach().numpy()),
        golden.relative_error(np.moveaxis(gradient, -1, 1), their_x.grad.numpy()),
    )


def check(prior, model, channels, t, **options):
    out, gradient = differences(prior, model, channels, t, **options)
    print(f"relative errors: output {out:.1e}, gradient {gradient:.1e}")
    assert out < 1e-5 and gradient < 2e-5


@pytest.mark.parametrize(
    ("config", "how"),
    [
        (HO, {}),
        (OWN, {"safe_serialization": False}),
        (GREY, {"max_shard_size": "200KB"}),
        (MID_NORM, {}),
    ],
    ids=["as Ho, safetensors", "as diffusers, bin", "grey, shards", "norm"],
)
def test_diffusers_folders_compute_the_same(diffusers, config, how, tmp_path):
    model = randomised(diffusers.UNet2DModel(**config))
    model.save_pretrained(tmp_path / "model", **how)
    convert(tmp_path / "model", tmp_path / "prior")
    labels = [1, 3] if config.get("num_class_embeds") else None
    prior = load_prior(tmp_path / "prior", label=None if labels is None else 0)
    assert prior.trained_size == 16
    check(prior, model, config.get("in_channels", 3), [7, 630], label=labels)


def renamed(network, state, layout):
    """A network's tensors in diffusers' layout, by the names of another one."""
    from pigdm_jax.networks import parameter_shapes

    levels = len(network.config.block_out_channels)
    names = [torch_names(kind, levels) for kind in ("diffusers", layout)]
    result = {}
    for path, _ in jax.tree.leaves_with_path(parameter_shapes(network)):
        path = tuple(entry.key for entry in path)
        old, new = (name(path) for name in names)
        tensor = state[old]
        if layout == "original" and path[-2] in ("q", "k", "v", "proj_out"):
            tensor = tensor[..., None, None] if tensor.ndim == 2 else tensor
        result[new] = tensor.clone()
    return result


@pytest.fixture(scope="module")
def ho(diffusers, tmp_path_factory):
    """A network like the original, its folder, and its prior."""
    folder = tmp_path_factory.mktemp("ho")
    model = randomised(diffusers.UNet2DModel(**HO))
    model.save_pretrained(folder / "model")
    convert(folder / "model", folder / "prior")
    return model, folder / "model", load_prior(folder / "prior")


def test_the_original_layout_computes_the_same(ho, tmp_path):
    model, _, prior = ho
    state = renamed(prior.network, model.state_dict(), "original")
    assert state["mid.attn_1.q.weight"].shape == (64, 64, 1, 1)
    torch.save(state, tmp_path / "ema.ckpt")
    report = convert(tmp_path / "ema.ckpt", tmp_path / "prior")
    assert any("one attention head" in line for line in report)
    check(load_prior(tmp_path / "prior"), model, 3, [7, 630])


def test_old_attention_names_compute_the_same(ho, tmp_path):
    model, original, prior = ho
    folder = tmp_path / "old"
    folder.mkdir()
    state = renamed(prior.network, model.state_dict(), "old diffusers")
    torch.save(state, folder / "diffusion_pytorch_model.bin")
    shutil.copy(original / "config.json", folder)
    betas = {"beta_schedule": "scaled_linear", "prediction_type": "v_prediction"}
    (folder / "scheduler_config.json").write_text(json.dumps(betas))
    convert(folder, tmp_path / "prior")
    prior = load_prior(tmp_path / "prior")
    assert prior.predicts == "v" and len(prior.schedule.betas) == 1000
    check(prior, model, 3, [7, 630])


def test_the_schedule_is_that_of_diffusers(diffusers, ho, tmp_path):
    folder = shutil.copytree(ho[1], tmp_path / "model")
    for kind in ("linear", "scaled_linear", "squaredcos_cap_v2"):
        scheduler = diffusers.DDPMScheduler(beta_schedule=kind)
        scheduler.save_pretrained(folder)
        convert(folder, tmp_path / kind)
        ours = load_prior(tmp_path / kind).schedule.alpha_bar
        np.testing.assert_allclose(ours, scheduler.alphas_cumprod.numpy(), rtol=2e-3)


def test_the_flow_layout_computes_the_same(tmp_path):
    """Our flow time is 1 minus theirs, and our velocity has the other sign."""
    from torch_flow import Flow

    model = Flow((32, 64), 2, (1,))
    model(torch.zeros(1, 3, 8, 8), torch.zeros(1))
    torch.save({"ema": model.state, "model": {}, "step": 3}, tmp_path / "flow.pt")
    report = convert(tmp_path / "flow.pt", tmp_path / "prior")
    assert "took the averaged weights (EMA) in ema; ignored model, step" in report
    prior = load_prior(tmp_path / "prior")
    assert prior.flow and prior.predicts == "v"

    def theirs(x, tau):
        return -model(x, 1 - tau)

    check(prior, theirs, 3, [0.25, 0.9])
