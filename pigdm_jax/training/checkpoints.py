"""Checkpoints of a run, from which it goes on exactly."""

from pathlib import Path

import jax
import orbax.checkpoint as ocp

from pigdm_jax.training.step import TrainState

KEPT = 2


class Checkpoints:
    """The latest states of a run, in a folder; a context that ends with all written."""

    def __init__(self, folder: Path) -> None:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=KEPT, create=True, enable_async_checkpointing=False
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        self._manager.close()

    def save(self, state: TrainState) -> None:
        """Write a state whole, then forget the oldest."""
        step = int(state.step)
        if self._manager.latest_step() != step:
            self._manager.save(step, args=ocp.args.StandardSave(state))

    def restore(self, state: TrainState) -> TrainState:
        """The latest state, placed as the given one; that one if there is none."""
        step = self._manager.latest_step()
        if step is None:
            return state
        like = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), state
        )
        return self._manager.restore(step, args=ocp.args.StandardRestore(like))
