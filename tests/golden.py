"""The original network's outputs: how to make their weights and inputs again."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from pigdm_jax import UNet, UNetConfig
from pigdm_jax.networks.adm.keys import to_params

# What the README of the goldens calls fair in float32.
OUT_TOLERANCE, VJP_TOLERANCE = 5e-5, 2e-4


def relative_error(a, b) -> float:
    """Relative L2 distance from b."""
    return float(np.linalg.norm(np.asarray(a) - b) / np.linalg.norm(b))


def fill_module(shared: Path):
    """The script that makes weights and inputs from names."""
    spec = importlib.util.spec_from_file_location("fill", shared / "golden/fill.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def config_of(manifest: dict) -> UNetConfig:
    """The network that a manifest describes."""
    known = {field.name for field in dataclasses.fields(UNetConfig)}
    return UNetConfig(**{k: v for k, v in manifest["unet"].items() if k in known})


def errors(shared: Path, name: str, **options) -> dict[str, float]:
    """Relative errors of our network's outputs and gradients on one golden file.

    Args:
      shared: the folder of reference data.
      name: of the manifest.
      **options: attributes of `UNet`.
    """
    fill = fill_module(shared)
    manifest = json.loads((shared / f"golden/manifests/{name}.json").read_text())
    gold = np.load(shared / f"golden/outputs/{name}.npz")
    config = config_of(manifest)
    params = to_params(fill.fill_state_dict(manifest).items(), UNet(config))
    x, v = (
        fill.standard_normal(f"{name}/{part}", gold["x_shape"]).transpose(0, 2, 3, 1)
        for part in "xv"
    )
    low_res = None
    if "low_res_shape" in gold:
        low_res = fill.standard_normal(f"{name}/low_res", gold["low_res_shape"])
        low_res = low_res.transpose(0, 2, 3, 1)
    label = jnp.asarray(gold["y"]) if "y" in gold else None
    t = jnp.asarray(gold["timesteps"], jnp.float32)

    @jax.jit
    def evaluate(params, x, low_res, v):
        net = UNet(config, **options)
        out, vjp = jax.vjp(
            lambda x, low_res: net.apply({"params": params}, x, t, label, low_res),
            x,
            low_res,
        )
        return out, *vjp(jnp.zeros_like(out).at[..., : v.shape[-1]].set(v))

    out, vjp_x, vjp_low_res = evaluate(params, x, low_res, v)
    every = int(gold["every"])

    def compare(ours, theirs):
        ours = np.asarray(ours).transpose(0, 3, 1, 2)[:, :, ::every, ::every]
        return relative_error(ours, theirs)

    result = {"out": compare(out, gold["out"]), "vjp_x": compare(vjp_x, gold["vjp_x"])}
    if low_res is not None:
        ours = np.asarray(vjp_low_res).transpose(0, 3, 1, 2)
        result["vjp_low_res"] = relative_error(ours, gold["vjp_low_res"])
    return result
