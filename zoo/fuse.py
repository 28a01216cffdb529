"""Fold re-parameterised models for inference: what was trained as branches becomes single convolutions.

    fast = zoo.fuse(zoo.load("fastvit_t8.apple_in1k"))

The fused model says the same, up to rounding, in fewer steps; its keys are no longer a checkpoint's. Ding et al. 2021,
"RepVGG: Making VGG-style ConvNets Great Again", arXiv:2101.03697, section 3.3.
"""

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.base import Backbone
from zoo.families.fastvit import PositionConv, RepMixer
from zoo.layers.reparam import BranchSum

Affine = tuple[Tensor, Tensor]  # kernel (dim, dim_in / groups, k, k) and bias (dim,)


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
        if isinstance(child, RepMixer):
            setattr(module, name, _mixer(child))
        elif isinstance(child, PositionConv):
            setattr(module, name, _position(child.pos_enc))
        elif _is_conv_norm(child):
            setattr(module, name, _sum([child]))
        else:
            if isinstance(child, BranchSum):
                folded = _sum(child.branches)
                for branch in child.names:
                    setattr(child, branch, None)
                setattr(child, child.names[0], folded)
            _fuse_inside(child)


def _mixer(module: RepMixer) -> nn.Conv2d:
    """Fold x + gamma * (mixer(x) - norm(x)) into one depthwise convolution."""
    mixer, gamma = _sum(module.mixer.branches), module.layer_scale.gamma  # (dim, 1, 1)
    side, weight = mixer.kernel_size[0], mixer.weight
    still = _identity(len(weight), mixer.groups, side, weight)
    normed, shift = _affine(module.norm.branches[0], mixer.groups)
    kernel = still + gamma[..., None] * (weight - _widen(normed, side))
    assert mixer.bias is not None
    return _conv(kernel, gamma.flatten() * (mixer.bias - shift), mixer)


def _position(conv: nn.Conv2d) -> nn.Conv2d:
    """Fold x + conv(x) into one convolution."""
    assert conv.bias is not None
    still = _identity(conv.out_channels, conv.groups, conv.kernel_size[0], conv.weight)
    return _conv(conv.weight + still, conv.bias, conv)


def _is_conv_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and [type(part) for part in module] == [nn.Conv2d, nn.BatchNorm2d]


def _split(branch: nn.Module) -> tuple[nn.Conv2d | None, nn.BatchNorm2d]:
    """The convolution of a branch, unless it is a batch norm alone, and its batch norm."""
    conv, norm = branch if isinstance(branch, nn.Sequential) else (None, branch)
    assert isinstance(norm, nn.BatchNorm2d)
    assert conv is None or isinstance(conv, nn.Conv2d)
    return conv, norm


def _sum(branches: list[nn.Module]) -> nn.Conv2d:
    """Add branches up, the smaller kernels in the middle of the largest."""
    convs = [conv for conv, _ in map(_split, branches) if conv is not None]
    largest = max(convs, key=lambda conv: conv.kernel_size)
    parts = [_affine(branch, largest.groups) for branch in branches]
    kernel = torch.stack([_widen(kernel, largest.kernel_size[0]) for kernel, _ in parts]).sum(0)
    return _conv(kernel, torch.stack([bias for _, bias in parts]).sum(0), largest)


def _affine(branch: nn.Module, groups: int) -> Affine:
    """What a convolution with its batch norm, or a batch norm alone, does to its input."""
    conv, norm = _split(branch)
    assert norm.running_mean is not None and norm.running_var is not None
    scale, mean = norm.weight / (norm.running_var + norm.eps).sqrt(), norm.running_mean
    kernel = _identity(norm.num_features, groups, 1, norm.weight) if conv is None else conv.weight
    if conv is not None and conv.bias is not None:
        mean = mean - conv.bias
    return kernel * scale[:, None, None, None], norm.bias - mean * scale


def _widen(kernel: Tensor, side: int) -> Tensor:
    """Put a kernel into the middle of one of another side. (..., k, k) -> (..., side, side)."""
    margin = (side - kernel.shape[-1]) // 2
    return F.pad(kernel, (margin, margin, margin, margin))


def _identity(dim: int, groups: int, side: int, like: Tensor) -> Tensor:
    """The kernel that changes nothing. (dim, dim / groups, side, side)."""
    kernel = like.new_zeros(dim, dim // groups, side, side)
    channel = torch.arange(dim)
    kernel[channel, channel % (dim // groups), side // 2, side // 2] = 1
    return kernel


def _conv(kernel: Tensor, bias: Tensor, like: nn.Conv2d) -> nn.Conv2d:
    """Make a convolution with the strides, padding and groups of another."""
    conv = deepcopy(like)
    conv.weight, conv.bias = (nn.Parameter(t.detach(), like.weight.requires_grad) for t in (kernel, bias))
    return conv
