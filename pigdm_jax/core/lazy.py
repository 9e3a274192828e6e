"""Public names that are imported on first use, so that a package imports fast."""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_exports(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's `__getattr__` and `__dir__`, which import its names on first use.

    See PEP 562. A package lists each public name three times: as an import that only
    type checkers see, in this table, and in `__all__`; `tests/test_lazy.py` compares
    the three.

        if TYPE_CHECKING:
            from pigdm_jax.operators.blurring import blur
        else:
            __getattr__, __dir__ = lazy_exports(
                __name__, {"blur": "pigdm_jax.operators.blurring"}
            )

        __all__ = ["blur"]

    Args:
      package: `__name__` of the package.
      modules: for each public name, the module that defines it. A name whose module is
        the package's own submodule of that name stands for the submodule itself.

    Returns:
      `__getattr__` and `__dir__`, to be assigned in the package. `__getattr__` imports
      the name's module, stores the value in the package, so that it is called once for
      each name, and raises AttributeError for names that are not in the table.

    Examples:
      >>> modules = {"dumps": "json", "decoder": "json.decoder"}
      >>> load, names = lazy_exports("json", modules)
      >>> load("dumps")([1])
      '[1]'
      >>> load("decoder").__name__
      'json.decoder'
    """

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = importlib.import_module(modules[name])
        if modules[name] != f"{package}.{name}":
            value = getattr(value, name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})

    return load, names
