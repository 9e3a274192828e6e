"""Checkpoints of a run, from which it continues exactly."""

from pathlib import Path

import jax
import orbax.checkpoint as ocp

from pigdm_jax.training.step import TrainState

KEPT = 2


class Checkpoints:
    """The latest states of a run, in a folder; leaving the context waits for writes."""

    def __init__(self, folder: Path) -> None:
        options = ocp.CheckpointManagerOptions(
            max_to_keep=KEPT, create=True, enable_async_checkpointing=False
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        self._manager.close()

    def reached_preemption(self, step: int) -> bool:
        """Whether the hosts of a run of several processes are about to be taken away.

        The same at every process, so that all of them save the same step.
        """
        return jax.process_count() > 1 and self._manager.reached_preemption(step)

    def save(self, state: TrainState) -> None:
        """Write a state, then delete the oldest."""
        step = int(state.step)
        if self._manager.latest_step() != step:
            self._manager.save(step, args=ocp.args.StandardSave(state))

    def restore(self, state: TrainState) -> TrainState:
        """The latest state, placed as the given one; the given one if there is none."""
        step = self._manager.latest_step()
        if step is None:
            return state
        like = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), state
        )
        return self._manager.restore(step, args=ocp.args.StandardRestore(like))
