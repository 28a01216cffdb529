"""Convolutions whose weights are standardised: each output's kernel has mean 0 and one length.

Qiao et al. 2019, "Micro-Batch Training with Batch-Channel Normalization and Weight Standardization", arXiv:1903.10520.
For inference they fold into plain convolutions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.layers.conv import SameConv2d, pad_same


class StdConv2d(nn.Conv2d):
    """(w - mean) / deviation of each kernel. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up.

    `same`: padded as TensorFlow's "same" is.
    """

    def __init__(
        self,
        dim_in: int,
        dim: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        eps: float = 1e-8,
        same: bool = False,
        bias: bool = False,
    ):
        super().__init__(dim_in, dim, kernel, stride, 0 if same else kernel // 2, groups=groups, bias=bias)
        self.eps, self.same = eps, same

    def standardised(self) -> Tensor:
        """The kernels that are applied. (dim, dim_in / groups, k, k)."""
        return standardise(self.weight, self.eps)

    def forward(self, input: Tensor) -> Tensor:
        if self.same:
            input = pad_same(input, self.kernel_size, self.stride)
        return self._conv_forward(input, self.standardised(), self.bias)

    def folded(self) -> nn.Conv2d:
        return with_kernel(SameConv2d if self.same else nn.Conv2d, self, self.standardised())


class ScaledStdConv2d(StdConv2d):
    """Kernels of length `gamma`, times a learned gain: of no effect on the variance of what comes in.

    (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up. Brock et al. 2021, arXiv:2101.08692, equation 3;
    `gamma` makes up for the activation before.
    """

    def __init__(
        self,
        dim_in: int,
        dim: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        gamma: float = 1.0,
        same: bool = False,
        gain: float = 1.0,
    ):
        super().__init__(dim_in, dim, kernel, stride, groups, 1e-5, same, bias=True)
        self.length = gamma * (dim_in // groups * kernel**2) ** -0.5
        self.gain = nn.Parameter(torch.full((dim, 1, 1, 1), gain))

    def standardised(self) -> Tensor:
        return standardise(self.weight, self.eps, (self.gain * self.length).flatten())


def standardise(weight: Tensor, eps: float, scale: Tensor | None = None) -> Tensor:
    """Give each output's kernel mean 0 and deviation 1, or `scale` (dim,). (dim, ...) -> (dim, ...)."""
    flat = F.batch_norm(weight.flatten(1)[None], None, None, scale, training=True, eps=eps)
    return flat.view_as(weight)


def with_kernel(kind: type[nn.Conv2d], conv: nn.Conv2d, kernel: Tensor) -> nn.Conv2d:
    """Make a plain convolution like another one, with another kernel."""
    sizes = (int(pair[0]) for pair in (conv.kernel_size, conv.stride, conv.padding))
    made = kind(conv.in_channels, conv.out_channels, *sizes, groups=conv.groups, device="meta")
    made.weight = nn.Parameter(kernel.detach(), conv.weight.requires_grad)
    made.bias = conv.bias
    return made
