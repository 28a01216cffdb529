"""CSPNet: half of a stage's channels go through its blocks, the other half around them, and its end joins both.

    image -> stem -> 4 or 5 stages, each of which halves the grid (not after a stem that pools) -> mean -> fc
    cross stage -> 3x3 conv, stride 2 -> 1x1 conv -> one half: blocks (-> 1x1 conv), the other: as it is -> 1x1 conv
    dark stage  -> 3x3 conv, stride 2 -> blocks
    block       -> 1x1 conv -> 3x3 conv, or in the other order (edge), or with a third, 1x1 (bottleneck) -> + shortcut

Wang et al. 2019, "CSPNet: A New Backbone that can Enhance Learning Capability of CNN", arXiv:1911.11929. The dark kinds
are from Redmon and Farhadi 2018, "YOLOv3: An Incremental Improvement", arXiv:1804.02767. The cs3 rows are timm's own
(Ross Wightman). Rows with se have squeeze-and-excitation in each block.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import CHANNEL_GATES, CONVOLUTIONS, Backbone
from zoo.layers.channel_attention import SqueezeExcite, gates_of
from zoo.layers.conv import ConvNorm
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import ClassifierHead
from zoo.layers.init import init_fan_out
from zoo.layers.norm import Act
from zoo.probe import tap
from zoo.registry import register

LEAKY, SILU = partial(nn.LeakyReLU, inplace=True), partial(nn.SiLU, inplace=True)


@dataclass(frozen=True)
class StemConfig:
    """Convs, the first of which may halve the grid, then perhaps a max pool, which halves it again."""

    dims: tuple[int, ...] = (32,)  # channels after each conv
    kernel: int = 3  # of the convs
    stride: int = 1  # of the first conv
    pool: bool = False  # a max pool follows, and the first stage keeps the grid


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one of these nets from another."""

    depths: tuple[int, ...]  # blocks in each stage
    dims: tuple[int, ...]  # channels of each stage
    stage: Callable[..., nn.Module]  # given its number, dim_in, a drop rate for each block, and this config
    block: Callable[..., nn.Module]  # given its channels, the stage's number, a drop rate, and this config
    stem: StemConfig = StemConfig()  # what comes before the stages
    part: tuple[float, ...] = (0.5,) * 5  # a block's channels in each stage, as a share of the stage's
    inside: float = 0.5  # channels inside a block, as a share of the stage's
    groups: tuple[int, ...] = (1,) * 5  # of the 3x3 convs in each stage
    attention: Callable[..., nn.Module] = nn.Identity  # inside a block, given channels and act
    mean_down: bool = False  # dark stages halve the grid by a mean before a 1x1 conv, not by a 3x3 conv
    act: Act = LEAKY  # after a conv


class DarkBlock(nn.Module):
    """1x1 conv -> (gates) -> 3x3 conv -> + shortcut. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, i: int, drop_path: float, cfg: Config, kernels: tuple[int, int] = (1, 3)):
        super().__init__()
        inside = int(cfg.inside * cfg.dims[i])
        self.conv1 = ConvNorm(dim, inside, kernels[0], act=cfg.act)
        self.attn = cfg.attention(inside, act=cfg.act)
        self.conv2 = ConvNorm(inside, dim, kernels[1], act=cfg.act)
        self.drop_path = DropPath(drop_path)
        nn.init.zeros_(self.conv2.bn.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.conv2(self.attn(self.conv1(x))))


class Bottleneck(nn.Module):
    """1x1 conv -> 3x3 conv -> (gates) -> 1x1 conv -> + shortcut -> act. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, i: int, drop_path: float, cfg: Config):
        super().__init__()
        inside = int(cfg.inside * cfg.dims[i])
        self.conv1 = ConvNorm(dim, inside, 1, act=cfg.act)
        self.conv2 = ConvNorm(inside, inside, 3, groups=cfg.groups[i], act=cfg.act)
        self.attn2 = cfg.attention(inside, act=cfg.act)
        self.conv3 = ConvNorm(inside, dim, 1)
        self.drop_path = DropPath(drop_path)
        self.act3 = cfg.act()
        nn.init.zeros_(self.conv3.bn.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.act3(x + self.drop_path(self.conv3(self.attn2(self.conv2(self.conv1(x))))))


class DarkStage(nn.Module):
    """Halve the grid, then blocks on all channels. (B, dim_in, H, W) -> (B, dims[i], H/2, W/2)."""

    def __init__(self, i: int, dim_in: int, drop_paths: list[float], cfg: Config):
        super().__init__()
        dim = cfg.dims[i]
        if cfg.mean_down:
            self.conv_down = nn.Sequential(nn.AvgPool2d(2), ConvNorm(dim_in, dim, 1, act=cfg.act))
        else:
            self.conv_down = ConvNorm(dim_in, dim, 3, 2, act=cfg.act)
        self.blocks = nn.Sequential(*(cfg.block(dim, i, rate, cfg) for rate in drop_paths))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.conv_down(x))


class CrossStage(nn.Module):
    """Halve the grid, then blocks on half of the channels. (B, dim_in, H, W) -> (B, dims[i], H/2, W/2), rounded up.

    `grow`: the first conv already has dims[i] outputs; `linear`: no activation before the halves part; `bare`: blocks
    on the first half, not on the second, and no conv after them.
    """

    def __init__(
        self, i: int, dim_in: int, drop_paths: list[float], cfg: Config,
        grow: bool = False, linear: bool = False, bare: bool = False,
    ):  # fmt: skip
        super().__init__()
        dim, part = cfg.dims[i], int(cfg.part[i] * cfg.dims[i])
        first = dim if grow else dim_in
        self.through = 0 if bare else 1
        halve = i > 0 or not cfg.stem.pool
        self.conv_down = ConvNorm(dim_in, first, 3, 2, cfg.groups[i], cfg.act) if halve else nn.Identity()
        self.conv_exp = ConvNorm(first, 2 * part, 1, act=None if linear else cfg.act)
        self.blocks = nn.Sequential(*(cfg.block(part, i, rate, cfg) for rate in drop_paths))
        self.conv_transition_b = nn.Identity() if bare else ConvNorm(part, part, 1, act=cfg.act)
        self.conv_transition = ConvNorm(2 * part, dim, 1, act=cfg.act)

    def forward(self, x: Tensor) -> Tensor:
        halves = list(self.conv_exp(self.conv_down(x)).chunk(2, 1))
        halves[self.through] = self.conv_transition_b(self.blocks(halves[self.through]))
        return self.conv_transition(torch.cat(halves, 1))


class CSPNet(Backbone):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32) -> logits (B, num_classes).

    Each halving rounds up, except that a mean and a 6x6 conv round down.
    """

    readout = "mean"

    def __init__(self, cfg: Config):
        super().__init__()
        self.no_attention = CONVOLUTIONS if cfg.attention is nn.Identity else CHANNEL_GATES
        self.smallest = 2 ** len(cfg.depths) if cfg.mean_down else 2 - cfg.stem.kernel % 2
        stem = cfg.stem
        self.stem = nn.Sequential()
        for i, (dim_in, dim) in enumerate(pairwise((3, *stem.dims)), 1):
            conv = ConvNorm(dim_in, dim, stem.kernel, stem.stride if i == 1 else 1, act=cfg.act)
            self.stem.add_module(f"conv{i}", conv)
        if stem.pool:
            self.stem.add_module("pool", nn.MaxPool2d(3, 2, 1))
        dims_in, rates = (stem.dims[-1], *cfg.dims), drop_path_rates(cfg.drop_path, cfg.depths)
        self.stages = nn.Sequential(*(cfg.stage(i, dims_in[i], rates[i], cfg) for i in range(len(rates))))
        self.num_features, self.num_classes = cfg.dims[-1], cfg.num_classes
        self.head = ClassifierHead(cfg.dims[-1], cfg.num_classes, cfg.drop)
        self.apply(_init)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", x, "NCHW")


def _init(module: nn.Module) -> None:
    init_fan_out(module)
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def cs3(depths: tuple[int, ...], width: float) -> Config:
    """`width` times the channels of size l."""
    dims = tuple(int(width * dim) for dim in (32, 64, 128, 256, 512, 1024))
    return Config(depths, dims[2:], partial(CrossStage, bare=True), DarkBlock, StemConfig(dims[:2], stride=2), act=SILU)


def focus(cfg: Config) -> Config:
    """One 6x6 conv as stem, which equals a 3x3 conv after each 2x2 pixels were stacked."""
    return replace(cfg, stem=StemConfig(cfg.stem.dims[1:], 6, 2))


DARK53 = Config((1, 2, 8, 8, 4), (64, 128, 256, 512, 1024), DarkStage, DarkBlock, part=(1.0,) * 5)
DARK21 = replace(DARK53, depths=(1, 1, 1, 2, 2))
LINEAR, POOLED = partial(CrossStage, linear=True), StemConfig((64,), 7, 2, pool=True)
RES50 = Config((3, 3, 5, 2), (128, 256, 512, 1024), LINEAR, Bottleneck, POOLED, part=(1.0,) * 4)
RES50D = replace(RES50, stem=StemConfig((32, 32, 64), 3, 2, pool=True))
wide = partial(replace, dims=(256, 512, 1024, 2048), part=(0.5,) * 4)
S, M, L, X = cs3((1, 3, 4, 1), 0.5), cs3((2, 4, 6, 2), 0.75), cs3((3, 6, 9, 3), 1), cs3((3, 7, 11, 3), 1.25)
EDGE_X = replace(X, block=partial(DarkBlock, kernels=(3, 1)), inside=0.75)
XDW = wide(L, depths=(3, 6, 12, 4), stage=CrossStage, block=Bottleneck, inside=0.25, groups=(1, 1, 256, 512))

VARIANTS = {
    "cspresnet50": RES50,
    "cspresnet50d": RES50D,
    "cspresnet50w": wide(RES50D, inside=0.125),
    "cspresnext50": wide(RES50, groups=(32,) * 4),
    "cspdarknet53": replace(DARK53, stage=partial(CrossStage, grow=True), part=(1.0, 0.5, 0.5, 0.5, 0.5)),
    "darknet17": replace(DARK53, depths=(1, 1, 1, 1, 1)),
    "darknet21": DARK21,
    "darknet53": DARK53,
    "darknetaa53": replace(DARK53, mean_down=True),
    "sedarknet21": replace(DARK21, attention=SqueezeExcite),
    "cs3darknet_s": S,
    "cs3darknet_m": M,
    "cs3darknet_l": L,
    "cs3darknet_x": X,
    "cs3darknet_focus_s": focus(S),
    "cs3darknet_focus_m": focus(M),
    "cs3darknet_focus_l": focus(L),
    "cs3darknet_focus_x": focus(X),
    "cs3sedarknet_l": replace(L, attention=gates_of(1 / 4)),
    "cs3sedarknet_x": replace(X, attention=SqueezeExcite),
    "cs3sedarknet_xdw": replace(XDW, attention=SqueezeExcite),
    "cs3edgenet_x": EDGE_X,
    "cs3se_edgenet_x": replace(EDGE_X, attention=gates_of(1 / 4)),
}
register(CSPNet, VARIANTS)
