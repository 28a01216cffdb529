"""TResNet: a ResNet rebuilt to be fast on GPUs, from a stem that moves pixels into channels to gates where they pay.

    image -> each 4x4 pixels become channels (H/4) -> 3x3 conv -> 4 stages, the last three halve the grid -> mean -> fc
    basic      -> 3x3 conv, (blur) -> 3x3 conv -> gates -> + shortcut -> relu
    bottleneck -> 1x1 conv -> 3x3 conv, (blur) -> (gates) -> 1x1 conv, 4 times the channels -> + shortcut -> relu

Ridnik et al. 2020, "TResNet: High Performance GPU-Dedicated Architecture", arXiv:2003.13630. Inside the branches relu
leaks; where a stage halves the grid, a blur does. The last stage has no gates. Some checkpoints first learned
ImageNet-21k's tree of classes, arXiv:2104.10972. v2 has bottlenecks in all stages.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from zoo import base
from zoo.base import CHANNEL_GATES, Backbone
from zoo.layers.channel_attention import SqueezeExcite
from zoo.layers.conv import ConvNorm, conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import ClassifierHead
from zoo.layers.init import init_fan_out
from zoo.layers.mbconv import StyledConv
from zoo.layers.norm import BatchNormAct2d
from zoo.layers.pool import BlurPool, check_divisible
from zoo.probe import tap
from zoo.registry import register

PATCH = 4  # pixels a side that the stem moves into channels


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one TResNet from another."""

    depths: tuple[int, ...]  # blocks in each stage
    width: int = 64  # channels inside the first stage's blocks; twice as many in each stage after it
    bottleneck: tuple[bool, ...] = (False, False, True, True)  # which stages have bottlenecks, not basic blocks


class SpaceToDepth(nn.Module):
    """Move each 4x4 pixels into channels, by rows, colours last. (B, C, H, W) -> (B, 16 C, H/4, W/4)."""

    def forward(self, x: Tensor) -> Tensor:
        check_divisible(x, PATCH, PATCH)
        cells = x.unflatten(3, (-1, PATCH)).unflatten(2, (-1, PATCH))  # (B, C, H/4, 4, W/4, 4)
        return cells.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)


def conv_leaky(dim_in: int, dim: int, kernel: int, stride: int = 1, slope: float = 1e-3) -> nn.Module:
    """Make conv -> batch norm, leaky relu -> (blur). (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""
    norm = BatchNormAct2d(dim, partial(nn.LeakyReLU, slope, inplace=True))
    return StyledConv(conv(dim_in, dim, kernel), norm, BlurPool() if stride == 2 else nn.Identity())


def shortcut(dim_in: int, dim: int, stride: int) -> nn.Sequential:
    """The identity if shapes agree. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""
    if stride == 1 and dim_in == dim:
        return nn.Sequential()
    mean = [nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)] if stride == 2 else []
    return nn.Sequential(*mean, ConvNorm(dim_in, dim, 1))


class Block(nn.Module):
    """A branch, whose convs are `dim` wide, added to its input.

    (B, dim_in, H, W) -> (B, expand * dim, H/stride, W/stride), rounded up.
    """

    expand: int

    def __init__(self, dim_in: int, dim: int, stride: int, gated: bool, drop_path: float):
        super().__init__()
        hidden = max(64, dim // 4 if self.expand == 1 else dim // 2)
        self.se = SqueezeExcite(dim, hidden) if gated else nn.Identity()
        self.downsample = shortcut(dim_in, self.expand * dim, stride)
        self.drop_path, self.act = DropPath(drop_path), nn.ReLU(inplace=True)

    def branch(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop_path(self.branch(x)) + self.downsample(x))


class BasicBlock(Block):
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""

    expand = 1

    def __init__(self, dim_in: int, dim: int, stride: int, gated: bool, drop_path: float):
        super().__init__(dim_in, dim, stride, gated, drop_path)
        self.conv1 = conv_leaky(dim_in, dim, 3, stride)
        self.conv2 = ConvNorm(dim, dim, 3)
        nn.init.zeros_(self.conv2.bn.weight)

    def branch(self, x: Tensor) -> Tensor:
        return self.se(self.conv2(self.conv1(x)))


class Bottleneck(Block):
    """(B, dim_in, H, W) -> (B, 4 dim, H/stride, W/stride), rounded up."""

    expand = 4

    def __init__(self, dim_in: int, dim: int, stride: int, gated: bool, drop_path: float):
        super().__init__(dim_in, dim, stride, gated, drop_path)
        self.conv1 = conv_leaky(dim_in, dim, 1)
        self.conv2 = conv_leaky(dim, dim, 3, stride)
        self.conv3 = ConvNorm(dim, 4 * dim, 1)
        nn.init.zeros_(self.conv3.bn.weight)

    def branch(self, x: Tensor) -> Tensor:
        return self.conv3(self.se(self.conv2(self.conv1(x))))


class TResNet(Backbone):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32), rounded up -> logits (B, num_classes).

    An image with sides that are no multiples of 4 is a ValueError.
    """

    readout = "mean"
    no_attention = CHANNEL_GATES
    smallest = 20  # the last grid that is blurred must be 2x2 or more

    def __init__(self, cfg: Config):
        super().__init__()
        dim = cfg.width
        layers = OrderedDict[str, nn.Module](s2d=SpaceToDepth(), conv1=conv_leaky(3 * PATCH**2, dim, 3, slope=0.01))
        for i, rates in enumerate(drop_path_rates(cfg.drop_path, cfg.depths)):
            block, blocks = Bottleneck if cfg.bottleneck[i] else BasicBlock, nn.Sequential()
            for j, rate in enumerate(rates):
                blocks.append(block(dim, cfg.width * 2**i, 2 if i and not j else 1, i < 3, rate))
                dim = block.expand * cfg.width * 2**i
            layers[f"layer{i + 1}"] = blocks
        self.body = nn.Sequential(layers)
        self.num_features, self.num_classes = dim, cfg.num_classes
        self.head = ClassifierHead(dim, cfg.num_classes, cfg.drop)
        self.apply(_init)

    def forward_features(self, x: Tensor) -> Tensor:
        for name, layer in self.body.named_children():
            x = layer(x)
            if name.startswith("layer"):
                x = tap(name.replace("layer", "stage"), x, "NCHW")
        return tap("cam", x, "NCHW")


def _init(module: nn.Module) -> None:
    init_fan_out(module)
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)


VARIANTS = {
    "tresnet_m": Config((3, 4, 11, 3)),
    "tresnet_l": Config((4, 5, 18, 3), 76),
    "tresnet_xl": Config((4, 5, 24, 3), 83),
    "tresnet_v2_l": Config((3, 4, 23, 3), bottleneck=(True, True, True, True)),
}
register(TResNet, VARIANTS)
