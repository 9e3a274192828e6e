"""Reading the tensors of PyTorch and safetensors files, without PyTorch.

It writes nothing and does not depend on `pigdm_jax`.
"""

from pigdm_convert.reader import Checkpoint, CheckpointError, read_checkpoint

__all__ = ["Checkpoint", "CheckpointError", "read_checkpoint"]
