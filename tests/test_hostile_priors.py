"""Folders of priors that are broken, cut or hostile are refused in a sentence."""

import copy
import json
import os
import random
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pigdm_jax.cli.failures import expected
from pigdm_jax.networks.adm.unet import UNet, UNetConfig
from pigdm_jax.weights.store import load_prior, save_prior


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small prior."""
    config = UNetConfig(32, (1,), 1, ())
    network = UNet(config)
    x = jnp.zeros((1, 8, 8, 3))
    shapes = jax.eval_shape(network.init, jax.random.key(0), x, jnp.zeros(1))["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda s: rng.normal(size=s.shape).astype("f4"), shapes)
    path = tmp_path_factory.mktemp("saved") / "prior"
    save_prior(path, network, params, "linear", {"description": "a test"})
    return path


@pytest.fixture
def prior(saved, tmp_path):
    """A copy of it, to break."""
    return shutil.copytree(saved, tmp_path / "prior")


def refused(path):
    with pytest.raises(ValueError) as caught:
        load_prior(path)
    sentence = expected(caught.value)
    assert sentence and "\n" not in sentence and len(sentence) < 600, caught.value
    return sentence


VALUES = [
    *(None, True, 0, -1, 2.5, 10**30, float("nan"), float("inf"), "", "x", "linear"),
    *([], [[]], [1], [10**9] * 3, ["x"], {}, {"a": {}}, {"betas": [2]}, {"betas": "x"}),
    *({"name": 5}, {"name": "x"}, {"betas": []}, {"betas": [True]}, {"../x": "y"}),
]


def test_every_field_is_checked(saved, prior):
    """Each replaced by a third of the values, and left out, at every level."""
    rng = random.Random(0)
    metadata = json.loads((saved / "prior.json").read_text())
    loaded = 0
    for where in ((), ("config",), ("schedule",)):
        fields = metadata
        for name in where:
            fields = fields[name]
        for name in [*fields, "unknown"]:
            for value in [*rng.sample(VALUES, len(VALUES) // 3), "left out"]:
                changed = copy.deepcopy(metadata)
                inner = changed
                for step in where:
                    inner = inner[step]
                inner[name] = value
                if value == "left out":
                    del inner[name]
                (prior / "prior.json").write_text(json.dumps(changed))
                try:
                    load_prior(prior)
                    loaded += 1
                except ValueError as error:
                    assert expected(error), (where, name, value, error)
                    assert len(expected(error)) < 600
    assert 3 < loaded < 70  # what is for people to read, and settings of no effect


@pytest.mark.parametrize(
    "text",
    [
        *("", "null", "3", "[]", '"x"', "{}", "[" * 100_000, '{"a":' * 100_000),
        *("\ud800", "{'a': 1}", '{"format_version": 1}', '{"format_version": [2]}'),
        *('{"format_version": 2}', '{"format_version": NaN}', "9" * 5000),
    ],
)
def test_metadata_of_any_text_are_refused(prior, text):
    (prior / "prior.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    refused(prior)


def test_what_is_no_file_is_refused(prior):
    metadata = prior / "prior.json"
    content = metadata.read_bytes()
    metadata.unlink()
    refused(prior)
    metadata.mkdir()
    refused(prior)
    metadata.rmdir()
    os.mkfifo(metadata)
    refused(prior)
    metadata.unlink()
    metadata.symlink_to("prior.json")
    refused(prior)
    metadata.unlink()
    metadata.symlink_to("/dev/zero")
    refused(prior)
    metadata.unlink()
    metadata.write_bytes(content)
    load_prior(prior)
    os.mkfifo(prior / "params" / "pipe")
    assert "pipe or device" in refused(prior)
    (prior / "params" / "pipe").unlink()
    (prior / "params" / "loop").symlink_to(".")
    load_prior(prior)
    shutil.rmtree(prior / "params")
    refused(prior)


def test_files_that_are_missing_cut_or_changed_are_refused(saved, prior):
    rng = random.Random(0)
    metadata = json.loads((saved / "prior.json").read_text())
    names = list(metadata["files"])
    for i in range(60):
        name = names[i % len(names)]
        file = prior / "params" / name
        content = file.read_bytes()
        if i % 3 == 0:
            file.unlink()
        elif i % 3 == 1 or not content:
            file.write_bytes(content[: rng.randrange(len(content) + 1)] + b"x")
        else:
            at = rng.randrange(len(content))
            changed = bytes([content[at] ^ (1 << rng.randrange(8))])
            file.write_bytes(content[:at] + changed + content[at + 1 :])
        refused(prior)
        file.write_bytes(content)
    load_prior(prior)


def test_arrays_that_claim_more_than_their_files_hold_are_refused(prior, monkeypatch):
    monkeypatch.setattr("pigdm_jax.weights.store.COMPRESSION", 0.5)
    assert "no arrays that can be read" in refused(prior)
