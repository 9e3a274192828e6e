"""Names that load on first use: complete, picklable, cheap to list."""

import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import pigdm_jax
from pigdm_jax.core.lazy import LazyMapping

ROOT = Path(pigdm_jax.__file__).parent
# The packages whose public names are in a stub, for `lazy_loader`.
PACKAGES = [
    ".".join(["pigdm_jax", *path.relative_to(ROOT).parts[:-1]])
    for path in sorted(ROOT.rglob("__init__.pyi"))
]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_loads_and_is_picklable(package):
    module = importlib.import_module(package)
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        value = getattr(module, name)
        if callable(value):
            assert pickle.loads(pickle.dumps(value)) is value
    with pytest.raises(AttributeError, match="nothing"):
        _ = module.nothing


# Modules that the command needs to check its arguments.
CHECKING = [
    "pigdm_jax.operators.registry",
    "pigdm_jax.guidance.registry",
    "pigdm_jax.samplers.registry",
    "pigdm_jax.networks.registry",
    "pigdm_jax.networks.adm.flags",
    "pigdm_jax.training.config",
    "pigdm_jax.cli.prior_table",
    "pigdm_jax.weights.names",
    "pigdm_jax.weights.obtaining",
]


@pytest.mark.parametrize("package", [*PACKAGES, *CHECKING])
def test_importing_the_names_imports_no_jax(package):
    code = f"import sys, {package}; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_lazy_mapping_imports_what_is_looked_up():
    mapping = LazyMapping({"wrong": "no.such.module:name", "dumps": "json:dumps"})
    assert list(mapping) == ["wrong", "dumps"] and len(mapping) == 2
    assert "wrong" in mapping and "loads" not in mapping
    assert mapping["dumps"]([1]) == "[1]" and mapping["dumps"] is mapping["dumps"]
    with pytest.raises(KeyError):
        mapping["loads"]
    with pytest.raises(ModuleNotFoundError):
        mapping["wrong"]
