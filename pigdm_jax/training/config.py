"""The flags of a training run; imports no JAX."""

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pigdm_jax.core.checks import check_count

if TYPE_CHECKING:
    import pigdm_jax.networks
    import pigdm_jax.priors.schedule

LARGEST_COUNT = 10**12


@dataclasses.dataclass(frozen=True)
class Phase:
    """A part of a run with crops of one size, and therefore one compiled update.

    Attributes:
      crop: side of the crops in pixels.
      batch: number of crops in a batch.
      first, last: it has the steps first .. last - 1.
      offset: number of crops used before this phase.
    """

    crop: int
    batch: int
    first: int
    last: int
    offset: int


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Flags of `pigdm train`.

    Attributes:
      steps: updates of the weights.
      batch: crops in a batch at the first crop size; at others as many as have the
        same number of pixels.
      crop: sides of the training crops, one after another.
      crop_shares: the fraction of the steps for each crop size.
      init: start from the weights of this prior, a folder or a name that `pigdm prior
        list` shows; its network is used as it is, and the command refuses flags of the
        network.
      channels: width of the network's first level.
      channel_mult: width of each level, as a multiple of channels.
      blocks: residual blocks in each level.
      attention: downsampling factors that have attention, besides the last.
      resampling: between levels, by residual blocks as in ADM, or by average pooling
        and repeated pixels (plain), which is faster.
      predicts: what the network learns to predict, the noise eps or the velocity v, a
        combination of noise and image whose error stays bounded at high noise.
      schedule: of the noise.
      spacing: distribution of the timesteps; quadratic, as samplers with few steps
        visit them, has more at low noise.
      weighting: of the loss at different noise levels; balanced divides it by its own
        running mean there, so that relative errors count equally at every level.
      optimizer: adamw; or muon, which orthogonalises the update of every kernel and
        learns more in each step.
      lr: peak learning rate.
      warmup: steps over which the learning rate rises.
      decay: the fraction of the steps, at the end, over which the learning rate falls
        to 0; with 0 it stays constant, and averaging the weights replaces its fall.
      weight_decay: of the optimizer, decoupled.
      clip: largest global norm of a gradient.
      ema: decay of the averaged weights, which are the result.
      dtype: of convolutions and matrix products; weights stay float32. Auto is bfloat16
        on GPU and TPU, float32 on CPU.
      remat: recompute blocks in the backward pass: less memory, more time.
      classes: every sub-folder is a class, and the prior takes a label.
      condition: train a network for one task: it also sees the pseudoinverse of the
        measurement, for instance of "super_resolution:4,box".
      seed: of weights, crops and noise.
      held_out: fraction of the photos kept for the evaluation loss.
      log_every: steps between rows of metrics.csv.
      save_every: steps between checkpoints.
      sample_every: steps between evaluation losses and pictures of samples.
    """

    steps: int = 100_000
    batch: int = 32
    crop: tuple[int, ...] = (64,)
    crop_shares: tuple[float, ...] = (1.0,)
    init: str | None = None
    channels: int = 32
    channel_mult: tuple[int, ...] = (1, 2, 3, 4)
    blocks: int = 1
    attention: tuple[int, ...] = (8,)
    resampling: Literal["plain", "blocks"] = "blocks"
    predicts: Literal["eps", "v"] = "eps"
    schedule: Literal["linear", "cosine"] = "linear"
    spacing: Literal["uniform", "quadratic"] = "uniform"
    weighting: Literal["equal", "balanced"] = "equal"
    optimizer: Literal["adamw", "muon"] = "adamw"
    lr: float = 5e-4
    warmup: int = 500
    decay: float = 1.0
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.9995
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    remat: bool = False
    classes: bool = False
    condition: str | None = None
    seed: int = 0
    held_out: float = 0.02
    log_every: int = 50
    save_every: int = 1000
    sample_every: int = 5000

    def network(self, num_classes: int | None) -> "pigdm_jax.networks.Network":
        """The network to train, if `init` does not give one: an ADM UNet."""
        from pigdm_jax.networks.adm.unet import UNet, UNetConfig

        config = UNetConfig(
            model_channels=self.channels,
            channel_mult=self.channel_mult,
            num_res_blocks=self.blocks,
            attention_resolutions=self.attention,
            in_channels=6 if self.condition else 3,
            num_head_channels=32,
            num_classes=num_classes,
            resblock_updown=self.resampling == "blocks",
            conv_resample=self.resampling == "blocks",
        )
        return UNet(config)

    def noise_schedule(self) -> "pigdm_jax.priors.schedule.Schedule":
        """The schedule that `schedule` names."""
        from pigdm_jax.priors.schedule import Schedule

        return Schedule.named(self.schedule)

    def phases(self) -> list[Phase]:
        """The phases of the run, one for each crop size."""
        phases, first, offset, fraction = [], 0, 0, 0.0
        for crop, part in zip(self.crop, self.crop_shares, strict=True):
            fraction += part
            last = round(self.steps * fraction)
            batch = max(1, self.batch * self.crop[0] ** 2 // crop**2)
            if last > first:
                phases.append(Phase(crop, batch, first, last, offset))
            offset += batch * (last - first)
            first = last
        return phases

    def check(self) -> None:
        """Check the ranges of the flags.

        Raises:
          ValueError: if one is out of range.
        """
        for name in ("steps", "batch", "log_every", "save_every", "sample_every"):
            check_count(name, getattr(self, name), 1, LARGEST_COUNT)
        check_count("warmup", self.warmup, 0, LARGEST_COUNT)
        check_count("seed", self.seed, 0, 2**32 - 1)
        if len(self.crop) != len(self.crop_shares):
            raise ValueError(
                f"crop and crop_shares go together, got {len(self.crop)} sizes and "
                f"{len(self.crop_shares)} shares"
            )
        if abs(sum(self.crop_shares) - 1) > 1e-6 or min(self.crop_shares) < 0:
            raise ValueError(f"crop_shares must add up to 1, got {self.crop_shares}")
        self._check_network_flags()
        if not 32 <= self.channels <= 4096 or self.channels % 32:
            raise ValueError(
                f"channels must be a multiple of 32, up to 4096, got {self.channels}"
            )
        for name, low, high in (
            ("ema", 0, 1),
            ("held_out", 0, 0.5),
            ("lr", 0, 1),
            ("weight_decay", 0, 1),
            ("clip", 0, math.inf),
            ("decay", 0, 1 + 1e-9),
        ):
            if not low <= getattr(self, name) < high:
                raise ValueError(
                    f"{name} must be at least {low} and below {high}, got "
                    f"{getattr(self, name)}"
                )

    def _check_network_flags(self) -> None:
        """Refuse sizes that no network and no crop has.

        Raises:
          ValueError: if one is out of range.
        """
        check_count("blocks", self.blocks, 1, 64)
        for name, sizes in (
            ("crop", self.crop),
            ("channel_mult", self.channel_mult),
            ("attention", self.attention),
        ):
            if not sizes and name != "attention":
                raise ValueError(f"{name} needs at least one number")
            for size in sizes:
                check_count(name, size, 1, 2**14)

    def check_unused(self) -> None:
        """Refuse flags of the network where `init` gives the network.

        Raises:
          ValueError: if one is not the default.
        """
        for name in ("channels", "channel_mult", "blocks", "attention", "resampling"):
            if self.init and getattr(self, name) != getattr(TrainConfig, name):
                raise ValueError(
                    f"--{name.replace('_', '-')} has no effect with --init, whose "
                    "network is used as it is; leave out one"
                )

    def check_network(self, network: "pigdm_jax.networks.Network") -> None:
        """Check that the network takes colour crops of these sizes.

        Raises:
          ValueError: if a crop's side is not a multiple of the network's, or its images
            are not of 3 channels.
        """
        if network.image_channels != 3:
            raise ValueError(
                "photos have 3 channels, and this network's images have "
                f"{network.image_channels}"
            )
        for crop in self.crop:
            if crop < network.multiple or crop % network.multiple:
                raise ValueError(
                    f"crops must be multiples of {network.multiple} for this network, "
                    f"got {crop}"
                )

    def to_json(self) -> str:
        """The flags as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "TrainConfig":
        """The flags that `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        flags: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**flags)

    def check_same(self, file: Path) -> None:
        """Check that a run to be continued was started with the same flags.

        Args:
          file: the config.json of the run.

        Raises:
          ValueError: if a flag differs, or the file is not a run's.
        """
        try:
            saved = json.loads(file.read_text())
        except (OSError, ValueError, RecursionError):
            saved = None
        if not isinstance(saved, dict) or "steps" not in saved:
            raise ValueError(
                f"{file} is damaged, or not the configuration of a run; choose another "
                "--out"
            )
        given = json.loads(self.to_json())
        different = [name for name in given if saved.get(name) != given[name]]
        if different:
            name = different[0]
            raise ValueError(
                f"{file.parent} was started with {name} {saved.get(name)}, not "
                f"{given[name]}; give the same flags to continue, or another --out"
            )
