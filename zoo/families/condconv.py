"""CondConv: a convolution whose kernel is a mixture of several experts' kernels, different for every image.

    image -> EfficientNet B0 or B1 with conditional blocks in its last three stages -> 1x1 conv -> mean -> fc
    conditional block -> shares: mean over the grid, fc, sigmoid -> an inverted residual whose three kernels are each
                         the sum of share times expert

Convolving with a mixture costs the same for any number of experts. Yang et al. 2019, "CondConv: Conditionally
Parameterized Convolutions for Efficient Inference", arXiv:1904.04971. 4e and 8e: the number of experts.
"""

import math
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.families.efficientnet import STYLE, stages
from zoo.families.mobilenet_v1 import Config, MobileNet, tensorflow
from zoo.layers.conv import pad_same, same_conv
from zoo.layers.mbconv import Inverted, InvertedResidual
from zoo.layers.table import Style, scaled
from zoo.registry import register


class CondConv(nn.Module):
    """(B, dim_in, H, W), shares (B, experts) -> (B, dim, H/stride, W/stride), rounded up."""

    def __init__(
        self, dim_in: int, dim: int, kernel: int, stride: int = 1, groups: int = 1, *, experts: int, same: bool
    ):
        super().__init__()
        self.shape = dim, dim_in // groups, kernel, kernel  # of one expert's kernel
        self.stride, self.groups, self.same = stride, groups, same
        self.weight = nn.Parameter(torch.empty(experts, math.prod(self.shape)))
        nn.init.normal_(self.weight, std=(2 * groups / (dim * kernel * kernel)) ** 0.5)

    def forward(self, x: Tensor, shares: Tensor) -> Tensor:
        padding = self.shape[2] // 2
        if self.same and self.stride > 1:
            x, padding = pad_same(x, self.shape[2:], (self.stride, self.stride)), 0
        batch, kernels = len(x), shares @ self.weight
        # Each image has its own kernels: the images are groups of one convolution.
        kernels = kernels.reshape(-1, *self.shape[1:])
        y = F.conv2d(x.reshape(1, -1, *x.shape[2:]), kernels, None, self.stride, padding, groups=batch * self.groups)
        return y.reshape(batch, -1, *y.shape[2:])


class ConditionalResidual(InvertedResidual):
    """An inverted residual of conditional convolutions. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride)."""

    def __init__(self, dim_in: int, row: "Conditional", stride: int, drop_path: float, style: Style):
        conv = partial(CondConv, experts=row.experts, same=style.conv is same_conv)
        super().__init__(dim_in, row, stride, drop_path, replace(style, conv=conv))
        self.routing_fn = nn.Linear(dim_in, row.experts)
        self.gate = nn.Sigmoid()

    def branch(self, x: Tensor) -> Tensor:
        shares = self.gate(self.routing_fn(x.mean((2, 3))))
        x = self.bn1(self.conv_pw(x, shares))
        x = self.se(self.bn2(self.conv_dw(x, shares)))
        return self.bn3(self.conv_pwl(x, shares))


@dataclass(frozen=True)
class Conditional(Inverted):
    """A row of ConditionalResidual."""

    experts: int = 4
    make = ConditionalResidual


def conditional(depth: float, experts: int) -> Config:
    """EfficientNet with experts in the last three stages."""
    table = (
        *stages()[:4],
        (Conditional(112, depth=3, kernel=5, gates=0.25, experts=experts),),
        (Conditional(192, depth=4, stride=2, kernel=5, gates=0.25, experts=experts),),
        (Conditional(320, gates=0.25, experts=experts),),
    )
    return Config(scaled(table, depth=depth), style=STYLE)


B0_4E = conditional(1.0, experts=4)
B0_8E = conditional(1.0, experts=8)
B1_8E = conditional(1.1, experts=8)

VARIANTS = {
    "efficientnet_cc_b0_4e": B0_4E,
    "efficientnet_cc_b0_8e": B0_8E,
    "efficientnet_cc_b1_8e": B1_8E,
    "tf_efficientnet_cc_b0_4e": tensorflow(B0_4E),
    "tf_efficientnet_cc_b0_8e": tensorflow(B0_8E),
    "tf_efficientnet_cc_b1_8e": tensorflow(B1_8E),
}
register(MobileNet, VARIANTS)
