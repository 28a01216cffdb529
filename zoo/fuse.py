"""Fold re-parameterised models for inference: what was trained as branches becomes single convolutions.

    fast = zoo.fuse(zoo.load("fastvit_t8.apple_in1k"))

The fused model says the same, up to rounding, in fewer steps; its keys are no longer a checkpoint's. Ding et al. 2021,
"RepVGG: Making VGG-style ConvNets Great Again", arXiv:2101.03697, section 3.3.
"""

from copy import deepcopy

import torch
from torch import nn

from zoo.base import Backbone
from zoo.layers.conv import ConvNorm
from zoo.layers.reparam import fold_branches


def fuse(model: Backbone) -> Backbone:
    """Give a copy for inference in which branches, and the batch norms in them, are folded; the model stays as it is.

    A model without branches comes back as a plain copy but for batch norms that stand alone behind a convolution.
    """
    model = deepcopy(model).eval()
    with torch.no_grad():
        _fuse_inside(model)
    return model


def _fuse_inside(module: nn.Module) -> None:
    for name, child in list(module.named_children()):
        if callable(folded := getattr(child, "folded", None)):
            setattr(module, name, folded())
        elif type(child) is ConvNorm and type(child.bn) is nn.BatchNorm2d:
            setattr(module, name, fold_branches([child]))
        else:
            _fuse_inside(child)
