"""Settings of an ADM UNet that its tensors do not determine; imports no JAX."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class CheckpointFlags:
    """Settings that shapes do not determine, named as ADM's flags; None if not given.

    Attributes:
      num_head_channels: width of an attention head; -1 if not given, as in ADM.
      num_heads: number of attention heads, where the width is not fixed.
      num_heads_upsample: number of heads on the way up, where it differs.
      new_attention_order: q, k, v are split before heads.
      attention_resolutions: image sizes with attention, as "32,16,8"; only compared
        with the tensors.
      image_size: side of the training images.
      schedule: the noise schedule.
    """

    num_head_channels: int | None = None
    num_heads: int | None = None
    num_heads_upsample: int | None = None
    new_attention_order: bool | None = None
    attention_resolutions: str | None = None
    image_size: int | None = None
    schedule: Literal["linear", "cosine"] | None = None
