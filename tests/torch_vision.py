"""The network definitions of torchvision, without its compiled parts.

torchvision is not imported as a whole: its C++ extension needs the very version of
PyTorch that it was built for. TORCHVISION names the folder into which
`pip install --no-deps --target` put it.
"""

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "build/torchvision"
NETWORKS = ("alexnet", "vgg", "resnet", "inception", "squeezenet")


def load():
    """`torchvision.models` with some networks, also for those that import it."""
    if "torchvision" in sys.modules:
        return sys.modules["torchvision.models"]
    root = Path(os.environ.get("TORCHVISION", FOLDER)) / "torchvision"
    if not (root / "models/inception.py").exists():
        pytest.skip(f"there is no torchvision in {root.parent}")

    def stub(name, path=None, **names):
        module = ModuleType(name)
        if path is not None:
            module.__path__ = [str(path)]
        vars(module).update(names)
        sys.modules[name] = module
        return module

    models = stub("torchvision.models", root / "models")
    stub("torchvision", root, __version__="0.29.1", models=models)
    stub("torchvision.transforms", root / "none")
    stub("torchvision.transforms._presets", ImageClassification=object)
    stub("torchvision.utils", _log_api_usage_once=lambda *_: None)
    stub("torchvision._utils", sequence_to_str=str)
    for name in NETWORKS:
        module = importlib.import_module(f"torchvision.models.{name}")
        constructors = [key for key in module.__all__ if key.islower()]
        vars(models).update({key: getattr(module, key) for key in constructors})
    models.inception = sys.modules["torchvision.models.inception"]
    return models


def randomise(network, seed=0):
    """Random values for every tensor, norms included; ready for inference."""
    import torch

    torch.manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
            elif isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                torch.nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    module.bias.normal_(0, 0.1)
    return network.eval()


def tensors(network):
    """The tensors of a network, or of a state dict, as arrays."""
    state = network if isinstance(network, dict) else network.state_dict()
    return {name: tensor.detach().numpy() for name, tensor in state.items()}


def channels_first(images):
    """Images as PyTorch takes them."""
    import torch

    return torch.from_numpy(np.moveaxis(np.asarray(images), -1, 1).copy())
