"""How random weights are drawn in more than one family."""

import torch
from torch import nn


def init_linear(module: nn.Module) -> None:
    """Draw a linear layer's weights as in ViT; leave any other module as it is."""
    if isinstance(module, nn.Linear):
        _truncated(module)


def init_truncated(module: nn.Module) -> None:
    """The same for convolutions, too."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        _truncated(module)


def _truncated(layer: nn.Linear | nn.Conv2d) -> None:
    nn.init.trunc_normal_(layer.weight, std=0.02)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def init_fan_out(module: nn.Module) -> None:
    """Draw a convolution's weights by the number of its outputs (He et al. 2015, arXiv:1502.01852); leave any other."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def init_fan_in(module: nn.Module) -> None:
    """The same by the number of its inputs; a linear layer begins without a bias."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
    elif isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


def init_glorot(module: nn.Module) -> None:
    """Draw a linear layer's weights by its inputs and outputs, a convolution's by its inputs; leave any other."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="linear")


@torch.no_grad()
def init_mobile(module: nn.Module) -> None:
    """Draw weights as in TensorFlow's mobile nets, scaled by a layer's outputs; leave other modules as they are."""
    if isinstance(module, nn.Conv2d):
        module.weight.normal_(std=(2 * module.groups / module.weight[:, 0].numel()) ** 0.5)
    elif isinstance(module, nn.Linear):
        bound = module.out_features**-0.5
        module.weight.uniform_(-bound, bound)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        module.bias.zero_()


def init_regnet(module: nn.Module) -> None:
    """Draw convolutions as above, and the last layer with a deviation of 0.01; leave other modules as they are."""
    init_mobile(module)
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
