"""PyTorch checkpoints of the ADM UNet to priors, without PyTorch."""

from pigdm_convert.command import convert
from pigdm_convert.reader import CheckpointError
from pigdm_convert.recognise import Flags

__all__ = ["CheckpointError", "Flags", "convert"]
