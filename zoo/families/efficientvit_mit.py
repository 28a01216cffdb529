"""EfficientViT of MIT: attention without a softmax, whose cost grows with the number of pixels and not with its square.

    image -> 3x3 conv (H/2), small block -> 4 stages, each of which halves the grid -> 1x1 conv -> mean -> norm -> fc
    early stages -> mobile convolution blocks -> + shortcut
    last stages  -> linear attention at two scales -> + shortcut -> mobile convolution block -> + shortcut

Cai et al. 2022, "EfficientViT: Multi-Scale Linear Attention for High-Resolution Dense Prediction", arXiv:2205.14756.
A query and a key weigh relu(q) relu(k), as a share of what the query gives to all keys; these weights are a matrix like
any other, but the sums can be taken in the order that never makes it. The sizes l1 to l3 have full convolutions early.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import classifier
from zoo.layers.norm import Act, LayerNorm
from zoo.probe import Geometry, Grid, attend, tap
from zoo.registry import register

Convs = tuple[tuple[str, int], ...]  # the name and the kernel of each conv in a branch

MOBILE = ("inverted_conv", 1), ("depth_conv", 3), ("point_conv", 1)
FUSED = ("spatial_conv", 3), ("point_conv", 1)
SEPARABLE = ("depth_conv", 3), ("point_conv", 1)
PLAIN = ("conv1", 3), ("conv2", 3)
KERNEL = 5  # of the conv whose outputs are the queries, keys and values of the coarser scale
EPS = 1e-5  # added to what a query gives to all keys


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one EfficientViT from another."""

    dims: tuple[int, ...]  # channels of the stem and of each stage
    depths: tuple[int, ...]  # blocks of the stem and of each stage
    head_dim: int  # channels of a head's queries, keys and values
    hidden: tuple[int, int]  # channels of the conv before the mean and of the linear layer after it
    large: bool = False  # sizes for the GPU: full convs in the first stages, wider blocks, attention in the last alone

    @property
    def act(self) -> Act:
        return partial(nn.GELU, approximate="tanh") if self.large else partial(nn.Hardswish, inplace=True)

    @property
    def eps(self) -> float:
        return 1e-7 if self.large else 1e-5


class ConvAct(nn.Module):
    """conv -> (batch norm) -> (act). (B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up."""

    def __init__(
        self, dim_in: int, dim: int, kernel: int, stride: int = 1, groups: int = 1, eps: float | None = None,
        act: nn.Module | None = None,
    ):  # fmt: skip
        super().__init__()
        self.conv = conv(dim_in, dim, kernel, stride, groups, bias=eps is None)
        self.norm = nn.Identity() if eps is None else nn.BatchNorm2d(dim, eps)
        self.act = act or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


def branch(
    convs: Convs, dim_in: int, inner: int, dim: int, cfg: Config, stride: int = 1, lean: bool = False
) -> nn.Sequential:
    """Make convs in sequence, with activations between them. (B, dim_in, H, W) -> (B, dim, H/stride, W/stride).

    `lean`: only the last conv has a norm, the others a bias.
    """
    layers, dims = OrderedDict(), (dim_in, *[inner] * (len(convs) - 1), dim)
    for i, (name, kernel) in enumerate(convs, 1):
        last, groups = i == len(convs), dims[i] if name == "depth_conv" else 1
        eps, act = None if lean and not last else cfg.eps, None if last else cfg.act()
        layers[name] = ConvAct(dims[i - 1], dims[i], kernel, stride if kernel > 1 else 1, groups, eps, act)
    return nn.Sequential(layers)


class LinearAttention(nn.Module):
    """Half of the heads compare single cells, the other half their 5x5 surroundings. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, cfg: Config):
        super().__init__()
        self.head_dim = cfg.head_dim
        self.qkv = nn.Sequential(OrderedDict(conv=conv(dim, 3 * dim, 1)))
        around = conv(3 * dim, 3 * dim, KERNEL, groups=3 * dim)
        mix = conv(3 * dim, 3 * dim, 1, groups=3 * dim // cfg.head_dim)
        self.aggreg = nn.ModuleList([nn.Sequential(around, mix)])
        self.proj = ConvAct(2 * dim, dim, 1, eps=cfg.eps)

    def forward(self, x: Tensor) -> Tensor:
        grid = Grid(0, *x.shape[2:])
        fine = self.qkv(x)
        both = torch.cat([fine, self.aggreg[0](fine)], 1).flatten(2)
        both = both.to(torch.promote_types(x.dtype, torch.float32))  # sums over all positions outgrow half precision
        q, k, v = both.unflatten(1, (-1, 3, self.head_dim)).unbind(2)  # (B, h, d, N) each
        q, k = q.relu(), k.relu()

        def weights() -> Tensor:
            products = q.transpose(2, 3) @ k
            return products / (products.sum(3, keepdim=True) + EPS)

        def linear() -> Tensor:
            given = k.sum(3, keepdim=True).transpose(2, 3) @ q + EPS  # (B, h, 1, N): by each query to all keys
            return ((v @ k.transpose(2, 3)) @ q / given).transpose(2, 3)

        y = attend(weights, v.transpose(2, 3), layer=self, geometry=lambda: Geometry.dense(grid), fast=linear)
        return self.proj(y.transpose(2, 3).flatten(1, 2).unflatten(2, grid.shape).to(x.dtype))


class Residual(nn.Module):
    """main, plus the input if `shortcut`. (B, C, H, W) -> (B, dim, H/stride, W/stride)."""

    def __init__(self, main: nn.Module, drop_path: float = 0.0, shortcut: bool = True):
        super().__init__()
        self.main, self.drop_path, self.shortcut = main, DropPath(drop_path), shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.main(x)  # which may lean to one side, as CPUBone's kernels do: x tells the place (zoo/follow.py)
        return torch.add(x, self.drop_path(y)) if self.shortcut else y


class Stage(nn.Module):
    """A block that halves the grid, then blocks that keep it. (B, dims[i], H, W) -> (B, dims[i + 1], H/2, W/2)."""

    def __init__(self, i: int, drop_paths: list[float], cfg: Config):
        super().__init__()
        dim_in, dim = cfg.dims[i : i + 2]
        lean, attends = i >= 2, i >= 2 + cfg.large
        convs = FUSED if cfg.large and not lean else MOBILE
        first, ratio = ((24, 6) if attends else (16, 4)) if cfg.large else (4, 4)  # channels inside over channels
        halving = branch(convs, dim_in, first * dim_in, dim, cfg, 2, lean)
        self.blocks = nn.Sequential(Residual(halving, shortcut=False))
        for rate in drop_paths if attends or cfg.large else drop_paths[1:]:  # else the block above counts as one
            block = Residual(branch(convs, dim, ratio * dim, dim, cfg, lean=lean), rate)
            if attends:
                context = Residual(LinearAttention(dim, cfg), rate)
                block = nn.Sequential(OrderedDict(context_module=context, local_module=block))
            self.blocks.append(block)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class Head(nn.Module):
    """1x1 conv -> mean -> linear layer -> norm -> act -> dropout -> fc. (B, dim, H, W) -> (B, num_classes)."""

    def __init__(self, dim: int, cfg: Config):
        super().__init__()
        wide, last = cfg.hidden
        self.in_conv = ConvAct(dim, wide, 1, eps=1e-5, act=cfg.act())
        inner = nn.Linear(wide, last, bias=False), LayerNorm(last, cfg.eps), cfg.act(), nn.Dropout(cfg.drop)
        self.classifier = nn.Sequential(*inner, classifier(last, cfg.num_classes))

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = tap("cam", self.in_conv(x), "NCHW").mean((2, 3))
        return (self.classifier[:-1] if pre_logits else self.classifier)(x)


class EfficientViT(Backbone):
    """Image (B, 3, H, W) -> features (B, dims[-1], H/32, W/32), rounded up -> logits (B, num_classes)."""

    readout = "mean_norm"
    classifier_key = "head.classifier.4"

    def __init__(self, cfg: Config):
        super().__init__()
        dim = cfg.dims[0]
        self.num_features, self.num_classes = cfg.hidden[1], cfg.num_classes
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        self.stem = nn.Sequential(OrderedDict(in_conv=ConvAct(3, dim, 3, 2, eps=cfg.eps, act=cfg.act())))
        for i, rate in enumerate(rates[0]):
            block = branch(PLAIN if cfg.large else SEPARABLE, dim, dim, dim, cfg)
            self.stem.add_module(f"res{i}", Residual(block, rate))
        self.stages = nn.Sequential(*(Stage(i, stage_rates, cfg) for i, stage_rates in enumerate(rates[1:])))
        self.head = Head(cfg.dims[-1], cfg)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return x


large = partial(Config, head_dim=32, large=True)

VARIANTS = {
    "efficientvit_b0": Config((8, 16, 32, 64, 128), (1, 2, 2, 2, 2), 16, (1024, 1280)),
    "efficientvit_b1": Config((16, 32, 64, 128, 256), (1, 2, 3, 3, 4), 16, (1536, 1600)),
    "efficientvit_b2": Config((24, 48, 96, 192, 384), (1, 3, 4, 4, 6), 32, (2304, 2560)),
    "efficientvit_b3": Config((32, 64, 128, 256, 512), (1, 4, 6, 6, 9), 32, (2304, 2560)),
    "efficientvit_l1": large((32, 64, 128, 256, 512), (1, 1, 1, 6, 6), hidden=(3072, 3200)),
    "efficientvit_l2": large((32, 64, 128, 256, 512), (1, 2, 2, 8, 8), hidden=(3072, 3200)),
    "efficientvit_l3": large((64, 128, 256, 512, 1024), (1, 2, 2, 8, 8), hidden=(6144, 6400)),
}
register(EfficientViT, VARIANTS)
