"""Imports go one way: nothing lower knows anything higher."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "pigdm_jax"

# Lowest first. A module imports from lower layers alone, so a prior no operator, an
# operator no prior and neither a file; the files of a family's folder also import each
# other.
LAYERS = [
    {"types", "pytree", "checks", "text_form"},
    {"numerics"},
    {"schedule", "convolution", "normalise", "io", "metrics", "hosts", "compilation"},
    {"unet"},
    {"prior", "operators"},
    {"problem", "checkpoint", "tiled"},
    {"guidance", "posterior"},
    {"samplers"},
    {"restoration"},
    {"task"},
    {"photos", "figures", "parallel"},
    {"request", "training", "bench"},
    {"folder"},
    {"console"},
    {"cli"},
]
FAMILIES = ("operators", "guidance", "samplers", "training", "folder")
# Modules that open files.
READERS = {"io", "checkpoint"}
LAYER = {name: i for i, names in enumerate(LAYERS) for name in names}
FILES = [p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py"]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            if node.module == PACKAGE.name:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_import_from_lower_layers_alone(path):
    part = path.relative_to(PACKAGE).with_suffix("").parts[0]
    for module in imported(path):
        package, *rest = module.split(".")
        if package == "pigdm_convert":
            assert part == "cli"
        elif package == "pigdm_jax":
            same_family = rest[0] == part and part in FAMILIES
            assert LAYER[rest[0]] < LAYER[part] or same_family, module


def test_operators_open_no_files():
    for path in (PACKAGE / "operators").rglob("*.py"):
        for module in imported(path):
            assert module.removeprefix("pigdm_jax.") not in READERS, (path, module)
            assert module not in ("io", "pathlib"), (path, module)


def test_every_module_has_a_layer():
    parts = {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in FILES}
    assert parts == set(LAYER)
