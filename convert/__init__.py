"""Tensors by name from PyTorch and safetensors files, without PyTorch.

Reads and checks, and writes nothing; knows nothing of `pigdm_jax`.
"""

from pigdm_convert.reader import Checkpoint, CheckpointError, read_checkpoint

__all__ = ["Checkpoint", "CheckpointError", "read_checkpoint"]
