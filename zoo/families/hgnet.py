"""PP-HGNet: blocks of plain 3x3 convs, which GPUs run best, that keep the outputs of all their convs and join them.

    image -> stem (H/4) -> 4 stages, the last three after a 3x3 depthwise conv, stride 2 -> mean -> 1x1 conv -> fc
    block -> conv -> conv -> ... -> 1x1 conv of the input and all of these -> gates or a second 1x1 conv -> (+ input)

PaddlePaddle 2022, "PP-HGNet", and 2023, "PP-HGNetV2", in the documentation of PaddleClas; the ssld checkpoints learned
from a larger net's outputs, Cui et al. 2021, arXiv:2103.05959. V2 has light convs, 1x1 and then 5x5 depthwise, in its
last two stages and, in sizes b0 to b3, a learned scale and shift after each relu.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import base
from zoo.base import CHANNEL_GATES, CONVOLUTIONS, Backbone
from zoo.layers.conv import ConvNorm, conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import classifier
from zoo.layers.init import init_fan_out
from zoo.layers.norm import BatchNormAct2d
from zoo.layers.table import RELU
from zoo.probe import tap
from zoo.registry import register

HIDDEN = 2048  # channels between the mean and the last layer


class Affine(nn.Module):
    """scale * x + bias, one number each. (B, C, H, W) -> (B, C, H, W).

    It stays in a fused model: it follows a relu, and the zeros that pad the next conv come after it.
    """

    def __init__(self):
        super().__init__()
        self.scale, self.bias = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, self.scale, x)


def conv_unit(dim_in: int, dim: int, kernel: int, affine: bool, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Make conv -> batch norm -> relu -> (affine). (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""
    layers = OrderedDict[str, nn.Module](conv=conv(dim_in, dim, kernel, stride, groups), bn=BatchNormAct2d(dim, RELU))
    return nn.Sequential(layers | {"lab": Affine()} if affine else layers)


def light_conv(dim_in: int, dim: int, affine: bool) -> nn.Sequential:
    """Make 1x1 conv -> 5x5 depthwise conv. (B, dim_in, H, W) -> (B, dim, H, W)."""
    return nn.Sequential(OrderedDict(conv1=ConvNorm(dim_in, dim, 1), conv2=conv_unit(dim, dim, 5, affine, groups=dim)))


class PooledStem(nn.Module):
    """Three 3x3 convs, then a max pool. (B, 3, H, W) -> (B, dims[2], H/4, W/4), rounded up."""

    def __init__(self, dims: tuple[int, ...], affine: bool):
        super().__init__()
        first, second, third = dims
        self.stem = nn.Sequential(
            conv_unit(3, first, 3, affine, 2), conv_unit(first, second, 3, affine), conv_unit(second, third, 3, affine)
        )
        self.pool = nn.MaxPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.stem(x))


class ForkedStem(nn.Module):
    """A max pool beside two 2x2 convs, between strided convs. (B, 3, H, W) -> (B, dims[1], H/4, W/4), rounded up."""

    def __init__(self, dims: tuple[int, ...], affine: bool):
        super().__init__()
        inner, dim = dims
        self.stem1 = conv_unit(3, inner, 3, affine, 2)
        self.stem2a, self.stem2b = conv_unit(inner, inner // 2, 2, affine), conv_unit(inner // 2, inner, 2, affine)
        self.stem3 = conv_unit(2 * inner, inner, 3, affine, 2)
        self.stem4 = conv_unit(inner, dim, 1, affine)
        self.pool = nn.MaxPool2d(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(self.stem1(x), (0, 1, 0, 1))  # windows of 2x2 lack a column on the right and a row below
        y = self.stem2b(F.pad(self.stem2a(x), (0, 1, 0, 1)))
        return self.stem4(self.stem3(torch.cat([self.pool(x), y], 1)))


class Gates(nn.Module):
    """mean over the grid -> 1x1 conv -> sigmoid -> times x. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv, self.gate = nn.Conv2d(dim, dim, 1), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.conv(x.mean((2, 3), keepdim=True)))


def gated(dim_in: int, dim: int, affine: bool) -> nn.Sequential:
    """Make 1x1 conv -> gates. (B, dim_in, H, W) -> (B, dim, H, W)."""
    return nn.Sequential(conv_unit(dim_in, dim, 1, affine), Gates(dim))


def squeezed(dim_in: int, dim: int, affine: bool) -> nn.Sequential:
    """Make 1x1 conv to half of the channels -> 1x1 conv. (B, dim_in, H, W) -> (B, dim, H, W)."""
    return nn.Sequential(conv_unit(dim_in, dim // 2, 1, affine), conv_unit(dim // 2, dim, 1, affine))


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one HGNet from another."""

    convs: int  # of a block, whose outputs are joined
    stem_dims: tuple[int, ...]  # channels inside the stem and after it
    inner: tuple[int, ...]  # channels of a block's convs in each stage
    dims: tuple[int, ...]  # channels of each stage
    depths: tuple[int, ...]  # blocks in each stage
    stem: Callable[..., nn.Module]  # given its channels and `affine`
    join: Callable[..., nn.Module]  # makes the end of a block, given channels before and after, and `affine`
    plain: int  # how many stages have 3x3 convs; the others have light convs
    affine: bool = False  # a scale and a shift after each relu


class Block(nn.Module):
    """(B, dim_in, H, W) -> (B, dims[i], H, W); from a stage's second block on, the input is added."""

    def __init__(self, i: int, dim_in: int, residual: bool, drop_path: float, cfg: Config):
        super().__init__()
        self.residual, inner = residual, cfg.inner[i]
        make = partial(conv_unit, kernel=3) if i < cfg.plain else light_conv
        self.layers = nn.ModuleList(make(inner if j else dim_in, inner, affine=cfg.affine) for j in range(cfg.convs))
        self.aggregation = cfg.join(dim_in + cfg.convs * inner, cfg.dims[i], cfg.affine)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        parts = [x]
        for layer in self.layers:
            parts.append(layer(parts[-1]))
        y = self.aggregation(torch.cat(parts, 1))
        return self.drop_path(y) + x if self.residual else y


class Stage(nn.Module):
    """Halve the grid (not in the first stage), then blocks. (B, dim_in, H, W) -> (B, dims[i], H/2, W/2), rounded up."""

    def __init__(self, i: int, dim_in: int, drop_paths: list[float], cfg: Config):
        super().__init__()
        self.downsample = ConvNorm(dim_in, dim_in, 3, 2, dim_in) if i else nn.Identity()
        blocks = (Block(i, cfg.dims[i] if j else dim_in, j > 0, rate, cfg) for j, rate in enumerate(drop_paths))
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class Head(nn.Module):
    """mean over the grid -> 1x1 conv, relu, (affine) -> dropout -> fc. (B, dim, H, W) -> (B, num_classes)."""

    def __init__(self, dim: int, cfg: Config):
        super().__init__()
        affine = [Affine()] if cfg.affine else []
        self.last_conv = nn.Sequential(conv(dim, HIDDEN, 1), RELU(), *affine)
        self.drop = nn.Dropout(cfg.drop)
        self.fc = classifier(HIDDEN, cfg.num_classes)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.drop(self.last_conv(x.mean((2, 3), keepdim=True)).flatten(1))
        return x if pre_logits else self.fc(x)


class HGNet(Backbone):
    """Image (B, 3, H, W) -> features (B, dims[-1], H/32, W/32), rounded up -> logits (B, num_classes)."""

    readout = "mean"
    num_features = HIDDEN

    def __init__(self, cfg: Config):
        super().__init__()
        self.no_attention = CHANNEL_GATES if cfg.join is gated else CONVOLUTIONS
        self.stem = cfg.stem(cfg.stem_dims, cfg.affine)
        dims_in, rates = (cfg.stem_dims[-1], *cfg.dims), drop_path_rates(cfg.drop_path, cfg.depths)
        self.stages = nn.Sequential(*(Stage(i, dims_in[i], rates[i], cfg) for i in range(len(rates))))
        self.head, self.num_classes = Head(cfg.dims[-1], cfg), cfg.num_classes
        self.apply(_init)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", x, "NCHW")


def _init(module: nn.Module) -> None:
    init_fan_out(module)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


v1 = partial(Config, stem=PooledStem, join=gated, plain=4)
v2 = partial(Config, stem=ForkedStem, join=squeezed, plain=2)

VARIANTS = {
    "hgnet_tiny": v1(5, (48, 48, 96), (96, 128, 160, 192), (224, 448, 512, 768), (1, 1, 2, 1)),
    "hgnet_small": v1(6, (64, 64, 128), (128, 160, 192, 224), (256, 512, 768, 1024), (1, 1, 2, 1)),
    "hgnet_base": v1(7, (96, 96, 160), (192, 224, 256, 288), (320, 640, 960, 1280), (1, 2, 3, 2)),
    "hgnetv2_b0": v2(3, (16, 16), (16, 32, 64, 128), (64, 256, 512, 1024), (1, 1, 2, 1), affine=True),
    "hgnetv2_b1": v2(3, (24, 32), (32, 48, 96, 192), (64, 256, 512, 1024), (1, 1, 2, 1), affine=True),
    "hgnetv2_b2": v2(4, (24, 32), (32, 64, 128, 256), (96, 384, 768, 1536), (1, 1, 3, 1), affine=True),
    "hgnetv2_b3": v2(5, (24, 32), (32, 64, 128, 256), (128, 512, 1024, 2048), (1, 1, 3, 1), affine=True),
    "hgnetv2_b4": v2(6, (32, 48), (48, 96, 192, 384), (128, 512, 1024, 2048), (1, 1, 3, 1)),
    "hgnetv2_b5": v2(6, (32, 64), (64, 128, 256, 512), (128, 512, 1024, 2048), (1, 2, 5, 2)),
    "hgnetv2_b6": v2(6, (48, 96), (96, 192, 384, 768), (192, 512, 1024, 2048), (2, 3, 6, 3)),
}
register(HGNet, VARIANTS)
