"""Packages whose public names load on first use: complete, typed, picklable."""

import ast
import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import pigdm_jax

ROOT = Path(pigdm_jax.__file__).parent


def lazy_packages():
    """The packages that call `lazy_exports`."""
    files = (path for path in ROOT.rglob("__init__.py"))
    for path in sorted(files):
        if "lazy_exports(" in path.read_text():
            yield ".".join(["pigdm_jax", *path.relative_to(ROOT).parts[:-1]])


PACKAGES = list(lazy_packages())


def typed_imports(package):
    """What type checkers import: each name with its module."""
    source = Path(importlib.import_module(package).__file__).read_text()
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for statement in node.body:
                assert isinstance(statement, ast.ImportFrom)
                for alias in statement.names:
                    submodule = f"{package}.{alias.name}"
                    own = statement.module == package
                    found[alias.name] = submodule if own else statement.module
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_and_python_see_the_same_names(package):
    module = importlib.import_module(package)
    table = module.__getattr__.__closure__
    (modules,) = (c.cell_contents for c in table if isinstance(c.cell_contents, dict))
    assert modules == typed_imports(package)
    assert set(modules) <= set(module.__all__) <= set(dir(module))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_loads_and_is_kept(package):
    module = importlib.import_module(package)
    for name in module.__all__:
        value = getattr(module, name)
        assert vars(module)[name] is value
        if callable(value):
            assert pickle.loads(pickle.dumps(value)) is value
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = module.nothing


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_lazy_package_imports_no_jax(package):
    code = f"import sys, {package}; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
