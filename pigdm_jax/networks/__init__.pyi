from .adm.flags import CheckpointFlags
from .adm.unet import UNet, UNetConfig
from .base import (
    Architecture,
    Network,
    Recognised,
    parameter_shapes,
)
from .registry import ARCHITECTURES, architecture_of

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "CheckpointFlags",
    "Network",
    "Recognised",
    "UNet",
    "UNetConfig",
    "architecture_of",
    "parameter_shapes",
]
