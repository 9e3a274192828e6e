"""Checkpoints of a training run, from which it continues exactly."""

from pathlib import Path

import jax
import orbax.checkpoint as ocp

from pigdm_jax.training.step import TrainState

KEPT = 2


class Checkpoints:
    """The latest states of a run in a folder; a context manager that closes it."""

    def __init__(self, folder: Path, *, cleans: bool = False) -> None:
        """Open the folder.

        Args:
          folder: of the checkpoints.
          cleans: whether to remove what a killed run left of one; only for the run
            itself.
        """
        options = ocp.CheckpointManagerOptions(
            max_to_keep=KEPT,
            create=True,
            cleanup_tmp_directories=cleans,
            enable_async_checkpointing=False,
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        self._manager.close()

    def reached_preemption(self, step: int) -> bool:
        """Whether to save and stop, because the hosts of the processes are preempted.

        JAX's coordination service distributes the notice (SIGTERM at any process), so
        that it is True at the same step of every process. Always False for a single
        process; see `stop_signals`.
        """
        return jax.process_count() > 1 and self._manager.reached_preemption(step)

    def save(self, state: TrainState) -> None:
        """Save a state, and delete all but the latest ones."""
        step = int(state.step)
        if self._manager.latest_step() != step:
            self._manager.save(step, args=ocp.args.StandardSave(state))

    def restore(self, state: TrainState) -> TrainState:
        """The latest state, sharded as the given one, or that one if none is saved."""
        step = self._manager.latest_step()
        if step is None:
            return state
        like = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), state
        )
        return self._manager.restore(step, args=ocp.args.StandardRestore(like))
