"""The flags of a training run; imports no JAX."""

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pigdm_jax.core.checks import check_choice, check_count
from pigdm_jax.networks.registry import ARCHITECTURES

if TYPE_CHECKING:
    import pigdm_jax.networks
    import pigdm_jax.priors.schedule

LARGEST_COUNT = 10**12
SIZES = ("channels", "channel_mult", "blocks", "attention", "resampling", "patch")


def flag(name: str) -> str:
    """The flag of a field of `TrainConfig` on the command line."""
    return f"--{name.replace('_', '-')}"


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
      architecture: of the network to train from scratch: adm or ddpm, which are UNets
        for images of any size; or jit, a transformer for images of one size, by flow
        matching.
      channels: width of a UNet's first level (if not given, 32), or of jit's tokens
        (192).
      channel_mult: width of each level of a UNet, as a multiple of channels (1 2 3 4).
      blocks: residual blocks in each level of a UNet (1), or blocks of jit (6).
      attention: downsampling factors at which a UNet has attention (8), besides the
        last level.
      resampling: between levels of adm, by residual blocks (if not given), or by
        average pooling and repeated pixels (plain), which is faster.
      patch: side in pixels of jit's patches (4).
      predicts: what the network learns to predict: the noise eps, the clean image x0,
        or the velocity v, a combination of noise and image whose error stays bounded at
        high noise.
      flow: train by flow matching: on (1 - tau) x0 + tau eps with tau from 0 to 1. The
        velocity v is eps - x0, and the loss is its error, whether v or x0 is predicted.
      schedule: of the noise; of a flow, only that by which samplers visit it.
      spacing: distribution of the timesteps; quadratic, as samplers with few steps
        visit them, has more at low noise; logit-normal, as for JiT, fewer at its ends.
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
    architecture: str = "adm"
    channels: int | None = None
    channel_mult: tuple[int, ...] | None = None
    blocks: int | None = None
    attention: tuple[int, ...] | None = None
    resampling: Literal["plain", "blocks"] | None = None
    patch: int | None = None
    predicts: Literal["eps", "x0", "v"] = "eps"
    flow: bool = False
    schedule: Literal["linear", "cosine"] = "linear"
    spacing: Literal["uniform", "quadratic", "logit-normal"] = "uniform"
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

    def with_sizes(self) -> "TrainConfig":
        """These flags, with the architecture's sizes where none are given.

        Raises:
          ValueError: if one is given that the architecture does not have.
        """
        defaults = ARCHITECTURES[self.architecture].sizes._asdict()
        for name, default in defaults.items():
            if default is None and getattr(self, name) is not None:
                raise ValueError(
                    f"{flag(name)} has no effect with --architecture "
                    f"{self.architecture}; leave it out"
                )
        given = {name: getattr(self, name) for name in defaults}
        chosen = {k: v if given[k] is None else given[k] for k, v in defaults.items()}
        return dataclasses.replace(self, **chosen)

    def network(self, num_classes: int | None) -> "pigdm_jax.networks.Network":
        """The network to train, if `init` does not give one.

        Raises:
          ValueError: if the architecture has none with these flags.
        """
        from pigdm_jax.networks.base import NewNetwork, Sizes

        whole = self.with_sizes()
        new = NewNetwork(
            Sizes(**{name: getattr(whole, name) for name in SIZES}),
            self.crop,
            num_classes,
            takes_image=self.condition is not None,
            flow=self.flow,
        )
        return ARCHITECTURES[self.architecture].untrained(new)

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
        check_choice("architecture", self.architecture, tuple(ARCHITECTURES))
        if self.flow and self.predicts == "eps":
            raise ValueError("--flow needs --predicts v or --predicts x0")
        if len(self.crop) != len(self.crop_shares):
            raise ValueError(
                f"crop and crop_shares go together, got {len(self.crop)} sizes and "
                f"{len(self.crop_shares)} shares"
            )
        if abs(sum(self.crop_shares) - 1) > 1e-6 or min(self.crop_shares) < 0:
            raise ValueError(f"crop_shares must add up to 1, got {self.crop_shares}")
        self._check_network_flags()
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
        for name, highest in (("blocks", 64), ("patch", 2**10)):
            if (count := getattr(self, name)) is not None:
                check_count(name, count, 1, highest)
        for name in ("crop", "channel_mult", "attention"):
            sizes = getattr(self, name)
            if sizes == () and name != "attention":
                raise ValueError(f"{name} needs at least one number")
            for size in sizes or ():
                check_count(name, size, 1, 2**14)
        channels = self.channels
        if channels is not None and (not 32 <= channels <= 4096 or channels % 32):
            raise ValueError(
                f"channels must be a multiple of 32, up to 4096, got {channels}"
            )

    def check_unused(self) -> None:
        """Refuse flags of the network where `init` gives the network.

        Raises:
          ValueError: if one is not the default.
        """
        for name in ("architecture", *SIZES):
            if self.init and getattr(self, name) != getattr(TrainConfig, name):
                raise ValueError(
                    f"{flag(name)} has no effect with --init, whose network is used as "
                    "it is; leave out one"
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
        # Flags that are newer than the run had its default.
        saved = json.loads(TrainConfig().to_json()) | saved
        different = [name for name in given if saved[name] != given[name]]
        if different:
            name = different[0]
            raise ValueError(
                f"{file.parent} was started with {name} {saved[name]}, not "
                f"{given[name]}; give the same flags to continue, or another --out"
            )
