"""Checkpoints of a training run, from which it continues exactly."""

import shutil
from pathlib import Path

import jax
import orbax.checkpoint as ocp

from pigdm_jax.training.step import TrainState
from pigdm_jax.weights.disk import check_space, orbax_writes

KEPT = 2


def latest_step(folder: Path) -> int:
    """The step of the latest checkpoint in a folder; 0 if there is none."""
    return max(ocp.utils.checkpoint_steps(folder), default=0)


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
        self._folder = folder.absolute()
        self._manager = ocp.CheckpointManager(self._folder, options=options)

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
        """Save a state, and delete all but the latest ones.

        Raises:
          ValueError: if the disk is too small, before anything is written.
          OSError: if the state cannot be written.
        """
        step = int(state.step)
        if self._manager.latest_step() == step:
            return
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        check_space(self._folder, size, f"{self._folder / str(step)}")
        try:
            with orbax_writes(self._folder):
                self._manager.save(step, args=ocp.args.StandardSave(state))
        except OSError:
            for half in self._folder.glob("*.orbax-checkpoint-tmp"):
                shutil.rmtree(half, ignore_errors=True)
            raise

    def restore(self, state: TrainState) -> TrainState:
        """The latest state, sharded as the given one, or that one if none is saved."""
        step = self._manager.latest_step()
        if step is None:
            return state
        like = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), state
        )
        return self._manager.restore(step, args=ocp.args.StandardRestore(like))
