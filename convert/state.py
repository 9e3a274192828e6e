"""The weights among everything that a training run may have saved.

Runs save their network's tensors alone, or nested beside an average of them, the
optimizer's state and counters, or with prefixes of the wrappers that they used.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from pigdm_convert.tensor import Refused, Tensor
from pigdm_convert.unpickler import View

# Entries that hold averaged weights, and others, in the order in which they are taken.
AVERAGED = (
    *("ema", "ema_model", "model_ema", "ema_state_dict", "model_ema_state_dict"),
    *("model_ema1", "params_ema"),
)
WEIGHTS = (
    *("state_dict", "model", "model_state_dict", "params", "network", "net", "unet"),
)
# Entries beside weights, or first parts of tensors' names, that are no weights.
IGNORED = frozenset(
    [
        *("optimizer", "optimizers", "optimizer_state_dict", "optimizer_states"),
        *("opt", "opt_state", "optim", "optim_state_dict", "optimizer_state"),
        *("scheduler", "lr_scheduler", "lr_schedulers", "scaler", "grad_scaler"),
        *("step", "steps", "global_step", "iteration", "iter", "epoch"),
        *("num_updates", "decay", "ema_decay", "initted"),
    ]
)
# Of wrappers around a network.
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
# Of networks that are saved with their average, which is taken.
AVERAGES = ("ema_model.", "model_ema.", "ema.")
OTHERS = ("online_model.", "model.")
DEEPEST = 4


class Weights(NamedTuple):
    """Tensors by name, and sentences about what was chosen and left out."""

    tensors: dict[str, Tensor]
    notes: tuple[str, ...]


def select(state: Any) -> tuple[dict[str, View], tuple[str, ...]]:
    """The weights in the contents of a PyTorch file, by name, and notes about them.

    Raises:
      Refused: if there is no state dict, or it holds something else besides.
    """
    notes: list[str] = []
    where: list[str] = []
    for _ in range(DEEPEST):
        if not isinstance(state, dict) or not state:
            break
        entry = _entry(state)
        if entry is None:
            return _named(state, notes)
        where.append(entry)
        what = "averaged weights (EMA)" if entry in AVERAGED else "weights"
        beside = ", ".join(str(key) for key in state if key != entry)
        notes.append(
            f"took the {what} in {'.'.join(where)}"
            + (f"; ignored {beside}" if beside else "")
        )
        state = state[entry]
    raise Refused("it is not a state dict of tensors by name")


def _entry(state: dict[Any, Any]) -> str | None:
    """The entry that has the weights; None if the tensors are here."""
    for name in (*AVERAGED, *WEIGHTS):
        if isinstance(state.get(name), dict) and state[name]:
            return name
    return None


def _named(
    state: dict[Any, Any], notes: list[str]
) -> tuple[dict[str, View], tuple[str, ...]]:
    """The tensors of a flat state dict.

    Raises:
      Refused: if it holds anything but tensors and what is ignored.
    """
    names, more = choose(key for key in state if isinstance(key, str))
    keys = ", ".join(map(str, state))
    nested = [k for k, v in state.items() if isinstance(v, dict) and k in names]
    if nested:
        raise Refused(
            f"its weights are nested (it holds {keys}); load it in PyTorch and save "
            f"the entry that has the weights, for instance checkpoint[{nested[0]!r}]"
        )
    others = [
        str(key)
        for key, value in state.items()
        if not isinstance(key, str) or (key in names and not isinstance(value, View))
    ]
    if not names or len(others) == len(state):
        raise Refused(f"it is not a state dict of tensors by name (it holds {keys})")
    if others:
        raise Refused(f"it holds more than tensors: {', '.join(others)}")
    return {new: state[old] for old, new in names.items()}, (*notes, *more)


def choose(keys: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The names of weights, each with its name without wrappers' prefixes; and notes.

    Names whose first part is of an optimizer or a counter are left out. Of a network
    that is saved with its average, the average is taken.
    """
    everything = list(keys)
    names = {key: key for key in everything if key.split(".")[0] not in IGNORED}
    notes = []
    if ignored := sorted({key.split(".")[0] for key in everything if key not in names}):
        notes.append(f"ignored {', '.join(ignored)}")
    for average in AVERAGES:
        taken = {k: v for k, v in names.items() if v.startswith(average)}
        rest = [v for v in names.values() if not v.startswith(average)]
        if taken and all(v.startswith(OTHERS) for v in rest):
            names = {k: v.removeprefix(average) for k, v in taken.items()}
            notes.append(f"took the averaged weights (EMA), {average}*")
            break
    while names:
        prefix = next(
            (p for p in PREFIXES if all(v.startswith(p) for v in names.values())), None
        )
        if prefix is None:
            break
        names = {k: v.removeprefix(prefix) for k, v in names.items()}
    return names, tuple(notes)
