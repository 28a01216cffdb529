"""Re-parameterisation: train a convolution as several branches, and run it as one.

Branches that are added up, and are no more than a convolution and a batch norm each, say together what one convolution
can say; trained apart they learn better. Here they stand apart, as the published weights have them. Ding et al. 2021,
"RepVGG: Making VGG-style ConvNets Great Again", arXiv:2101.03697; Vasu et al. 2022, "MobileOne: An Improved One
millisecond Mobile Backbone", arXiv:2206.04040.
"""

from collections import OrderedDict
from typing import ClassVar

from torch import Tensor, nn


def conv_norm(dim_in: int, dim: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Make conv -> batch norm. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up; `kernel` is odd."""
    conv = nn.Conv2d(dim_in, dim, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(dim)))


class BranchSum(nn.Module):
    """The sum of what branches make of x, where a branch is a `conv_norm` or a batch norm alone.

    Kernels may differ in size, strides may not. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up.
    """

    names: ClassVar[tuple[str, ...]]  # of the children that are branches, lists of branches, or None

    @property
    def branches(self) -> list[nn.Module]:
        found = []
        for name in self.names:
            child = getattr(self, name)
            if isinstance(child, nn.ModuleList):
                found.extend(child)
            elif child is not None:
                found.append(child)
        return found

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.branches
        y = first(x)
        for branch in others:
            y += branch(x)
        return y


class RepConv(BranchSum):
    """MobileOne's convolution: `convs` of one size, a 1x1 if `scale`, and x itself where input and output are alike.

    (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up.
    """

    names = "identity", "conv_scale", "conv_kxk"

    def __init__(
        self, dim_in: int, dim: int, kernel: int, stride: int = 1, groups: int = 1, convs: int = 1, scale: bool = True
    ):
        super().__init__()
        self.identity = nn.BatchNorm2d(dim) if dim_in == dim and stride == 1 else None
        self.conv_kxk = nn.ModuleList(conv_norm(dim_in, dim, kernel, stride, groups) for _ in range(convs))
        self.conv_scale = conv_norm(dim_in, dim, 1, stride, groups) if scale and kernel > 1 else None
