"""What a run starts from: a new network, or that of a saved prior."""

from typing import Any

from pigdm_jax.networks import Network
from pigdm_jax.training.config import TrainConfig
from pigdm_jax.weights.store import SavedNetwork, read_network


def saved_start(config: TrainConfig) -> SavedNetwork | None:
    """The prior to start from; None for random weights.

    Of the run's flags, only the number of classes remains to be checked.

    Raises:
      ValueError: if the flags do not fit the network, or the prior was trained with
        others.
    """
    if config.init is None:
        check_network(config, config.network(1 if config.classes else None))
        return None
    saved = read_network(config.init)
    for name, given, required in (
        ("flow", _switch(config.flow), _switch(saved.flow)),
        ("predicts", config.predicts, saved.predicts),
        ("schedule", config.noise_schedule(), saved.schedule),
        ("condition", "pinv" if config.condition else None, saved.sees),
    ):
        if given != required:
            shown = f": {required}" if name in ("flow", "predicts") else ""
            raise ValueError(
                f"--{name} must be as it was for the prior {config.init}{shown}"
            )
    labelled = saved.network.num_classes is not None
    without = saved.network.null_label is not None and not config.classes
    if config.classes != labelled and not without:
        raise ValueError(f"--classes must be as it was for the prior {config.init}")
    check_network(config, saved.network)
    return saved


def _switch(on: bool) -> str:
    return "on" if on else "off"


def initial_network(
    config: TrainConfig, saved: SavedNetwork | None, classes: int | None
) -> tuple[Network, Any]:
    """The network, and the weights to start from.

    Args:
      config: of the run.
      saved: from `saved_start`.
      classes: number of classes of the photos, or None.

    Returns:
      The network and the parameters, which are None for random ones.

    Raises:
      ValueError: if the prior to start from has other classes.
    """
    if saved is None:
        return config.network(classes), None
    known = saved.network.num_classes
    if classes not in (None, known):
        raise ValueError(
            f"the photos are of {classes} classes, and the prior {config.init} has "
            f"{known}"
        )
    return saved.network, saved.params


def trained_size(config: TrainConfig, saved: SavedNetwork | None) -> int:
    """Side of the largest crops that the weights have seen, in this run or before it.

    Args:
      config: of the run.
      saved: from `saved_start`.
    """
    before = None if saved is None else saved.trained_size
    return max(*config.crop, before or 0)


def check_network(config: TrainConfig, network: Network) -> None:
    """Check that a network takes colour crops of the run's sizes.

    Raises:
      ValueError: if a crop's side is not that of the network's images, or no multiple
        of its `multiple`, or its images are not of 3 channels.
    """
    if network.image_channels != 3:
        raise ValueError(
            "photos have 3 channels, and this network's images have "
            f"{network.image_channels}"
        )
    for crop in config.crop:
        if network.image_size not in (None, crop):
            raise ValueError(
                f"this network takes images of {network.image_size} pixels; give "
                f"--crop {network.image_size}, got {crop}"
            )
        if crop < network.multiple or crop % network.multiple:
            raise ValueError(
                f"crops must be multiples of {network.multiple} for this network, "
                f"got {crop}"
            )
