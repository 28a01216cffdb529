"""SK-ResNet: a ResNet whose 3x3 conv is two, of different reach, between which each channel chooses by what it sees.

    selective kernel -> 3x3 conv and dilated 3x3 conv in parallel -> sum -> mean over the grid -> two small layers
                     -> softmax over the two -> weighted sum

Li et al. 2019, "Selective Kernel Networks", arXiv:1903.06586. skresnext50 is the paper's SKNet-50; in the others, which
are timm's own (Ross Wightman), each of the two convs reads half of the channels.
"""

from dataclasses import dataclass, replace

from torch import Tensor

from zoo.families.resnet import RESNET18, RESNET34, RESNET50, Block, Config, ResNet, resnet_d
from zoo.layers.conv import ConvNorm
from zoo.layers.selective_kernel import RELU, SelectiveKernel
from zoo.layers.width import make_divisible
from zoo.registry import register


@dataclass(frozen=True)
class Kernels:
    """What stands in place of a 3x3 conv."""

    share: float = 1 / 16  # of the channels, in the hidden layer that chooses
    divisor: int = 8  # that number is rounded to a multiple of it
    split: bool = True  # each conv reads half of the channels

    def conv(self, dim_in: int, dim: int, stride: int, groups: int) -> SelectiveKernel:
        """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""
        hidden = make_divisible(dim * self.share, self.divisor)
        return SelectiveKernel(dim_in, dim, hidden, stride, groups, self.split)

    def basic(self, dim_in: int, dims: tuple[int, ...], full: int, stride: int, rate: float, cfg: Config) -> Block:
        return SelectiveBasic(dim_in, dims, full, stride, rate, cfg, self)

    def bottleneck(self, dim_in: int, dims: tuple[int, ...], full: int, stride: int, rate: float, cfg: Config) -> Block:
        return SelectiveBottleneck(dim_in, dims, full, stride, rate, cfg, self)


class SelectiveBasic(Block):
    """(B, dim_in, H, W) -> (B, dims[1], H/stride, W/stride)."""

    def __init__(
        self, dim_in: int, dims: tuple[int, ...], full: int, stride: int, rate: float, cfg: Config, kernels: Kernels
    ):
        super().__init__(dim_in, dims, full, stride, rate, cfg)
        self.conv1 = kernels.conv(dim_in, dims[0], stride, cfg.groups)
        self.conv2 = ConvNorm(dims[0], dims[1], 3)

    def branch(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x))


class SelectiveBottleneck(Block):
    """(B, dim_in, H, W) -> (B, dims[2], H/stride, W/stride)."""

    def __init__(
        self, dim_in: int, dims: tuple[int, ...], full: int, stride: int, rate: float, cfg: Config, kernels: Kernels
    ):
        super().__init__(dim_in, dims, full, stride, rate, cfg)
        self.conv1 = ConvNorm(dim_in, dims[0], 1, act=RELU)
        self.conv2 = kernels.conv(dims[0], dims[1], stride, cfg.groups)
        self.conv3 = ConvNorm(dims[1], dims[2], 1)

    def branch(self, x: Tensor) -> Tensor:
        return self.conv3(self.conv2(self.conv1(x)))


class SKResNet(ResNet):
    """As ResNet."""

    no_attention = "its gates choose between kernels, the same at every position, and the rest is convolutions"


def sk(base: Config, kernels: Kernels = Kernels()) -> Config:
    """Give a ResNet such blocks."""
    return replace(base, kinds=(kernels.basic, kernels.bottleneck))


WIDER = Kernels(1 / 8, divisor=16)

VARIANTS = {
    "skresnet18": sk(RESNET18, WIDER),
    "skresnet34": sk(RESNET34, WIDER),
    "skresnet50": sk(RESNET50),
    "skresnet50d": sk(resnet_d(RESNET50)),
    "skresnext50_32x4d": sk(replace(RESNET50, groups=32, group_width=4), Kernels(divisor=32, split=False)),
}
register(SKResNet, VARIANTS)
