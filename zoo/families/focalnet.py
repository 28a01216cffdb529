"""FocalNet: modulation in place of attention; a place gathers its surroundings first and meets its query after.

    image -> 4x4 patches -> 4 stages of blocks, the grid halved before each but the first -> norm -> mean -> fc
    block      -> norm -> modulation -> + shortcut -> norm -> MLP -> + shortcut
    modulation -> depthwise convs one after another, ever wider -> their outputs and the last one's mean over the grid,
                  each times a gate of the place, added up -> 1x1 conv -> times the query -> 1x1 conv

Yang et al. 2022, "Focal Modulation Networks", arXiv:2203.11926. srf, lrf: a small or a large field, by two convs or
three; fl3, fl4: the number of convs, named.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import ClassifierHead
from zoo.layers.init import init_truncated
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm2d
from zoo.layers.scale import LayerScale2d
from zoo.probe import tap
from zoo.registry import register

PATCH = 4  # pixels between two cells of the stem's grid
MLP_RATIO = 4  # hidden width of the MLP over dim
GAMMA = 1e-4  # initial factor of each branch of a large net

Norm = Callable[[int], nn.Module]
norm: Norm = partial(LayerNorm2d, eps=1e-5)
no_norm: Norm = nn.Identity


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one FocalNet from another."""

    dim: int  # channels of the first stage; each later one has twice as many
    depths: tuple[int, ...]  # blocks in each stage
    levels: int = 2  # depthwise convs of a modulation
    kernel: int = 3  # of the first of them; each of the others is wider by 2
    large: bool = False  # norms after the branches, which have layer scale; kernels that halve the grid overlap
    norm_inside: bool = False  # one more norm, of the modulated query


class Modulation(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, cfg: Config):
        super().__init__()
        self.parts = dim, dim, cfg.levels + 1
        self.f = nn.Conv2d(dim, sum(self.parts), 1)
        self.h = nn.Conv2d(dim, dim, 1)
        kernels = range(cfg.kernel, cfg.kernel + 2 * cfg.levels, 2)
        convs = (nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim, bias=False) for kernel in kernels)
        self.focal_layers = nn.ModuleList(nn.Sequential(conv, nn.GELU()) for conv in convs)
        self.act = nn.GELU()
        self.norm = (norm if cfg.norm_inside else no_norm)(dim)
        self.proj = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        query, context, gates = self.f(x).split(self.parts, 1)
        *near, far = gates.split(1, 1)  # (B, 1, H, W) each
        total = torch.zeros_like(context)
        for layer, gate in zip(self.focal_layers, near, strict=True):
            context = layer(context)
            total = torch.addcmul(total, context, gate)
        total = torch.addcmul(total, self.act(context.mean((2, 3), keepdim=True)), far)
        return self.proj(self.norm(query * self.h(total)))


class Block(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, drop_path: float, cfg: Config):
        super().__init__()
        before, after = (no_norm, norm) if cfg.large else (norm, no_norm)
        scale = partial(LayerScale2d, start=GAMMA) if cfg.large else nn.Identity
        self.norm1, self.modulation, self.norm1_post = before(dim), Modulation(dim, cfg), after(dim)
        self.ls1 = scale(dim)
        self.norm2, self.mlp, self.norm2_post = before(dim), Mlp(dim, MLP_RATIO * dim, conv=True), after(dim)
        self.ls2 = scale(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.ls1(self.norm1_post(self.modulation(self.norm1(x)))))
        return x + self.drop_path(self.ls2(self.norm2_post(self.mlp(self.norm2(x)))))


class Downsample(nn.Module):
    """(B, dim_in, H, W) -> (B, dim, H/stride, W/stride), rounded up if the kernels overlap, down if not."""

    def __init__(self, dim_in: int, dim: int, stride: int, overlap: bool):
        super().__init__()
        kernel, padding = (2 * stride - 1, stride // 2) if overlap else (stride, 0)
        self.proj = nn.Conv2d(dim_in, dim, kernel, stride, padding)
        self.norm = norm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x))


class Stage(nn.Module):
    """Halve the grid (not before the first stage), then blocks. (B, C, H, W) -> (B, 2 * C, H/2, W/2)."""

    def __init__(self, i: int, drop_paths: list[float], cfg: Config):
        super().__init__()
        dim = cfg.dim * 2**i
        self.downsample = Downsample(dim // 2, dim, 2, cfg.large) if i else nn.Identity()
        self.blocks = nn.Sequential(*(Block(dim, rate, cfg) for rate in drop_paths))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class FocalNet(Backbone):
    """Image (B, 3, H, W) -> features (B, num_features, H/32, W/32) -> logits (B, num_classes)."""

    readout = "norm_mean"
    no_attention = "each place gathers its surroundings by convolutions, and no two places are compared"

    def __init__(self, cfg: Config):
        super().__init__()
        steps = len(cfg.depths) - 1
        self.smallest = PATCH - 1 if cfg.large else PATCH * 2**steps
        self.num_features, self.num_classes = cfg.dim * 2**steps, cfg.num_classes
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        self.stem = Downsample(3, cfg.dim, PATCH, cfg.large)
        self.layers = nn.Sequential(*(Stage(i, stage_rates, cfg) for i, stage_rates in enumerate(rates)))
        self.norm = norm(self.num_features)
        self.head = ClassifierHead(self.num_features, cfg.num_classes, cfg.drop)
        self.apply(init_truncated)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for i, stage in enumerate(self.layers, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", self.norm(x), "NCHW")


TINY = Config(96, (2, 2, 6, 2))
SMALL = Config(96, (2, 2, 18, 2))
BASE = Config(128, (2, 2, 18, 2))
LARGE = Config(192, (2, 2, 18, 2), large=True, num_classes=21_842)
XLARGE = replace(LARGE, dim=256)
HUGE = replace(LARGE, dim=352, norm_inside=True)

VARIANTS = {
    "focalnet_tiny_srf": TINY,
    "focalnet_small_srf": SMALL,
    "focalnet_base_srf": BASE,
    "focalnet_tiny_lrf": replace(TINY, levels=3),
    "focalnet_small_lrf": replace(SMALL, levels=3),
    "focalnet_base_lrf": replace(BASE, levels=3),
    "focalnet_large_fl3": replace(LARGE, levels=3, kernel=5),
    "focalnet_large_fl4": replace(LARGE, levels=4),
    "focalnet_xlarge_fl3": replace(XLARGE, levels=3, kernel=5),
    "focalnet_xlarge_fl4": replace(XLARGE, levels=4),
    "focalnet_huge_fl3": replace(HUGE, levels=3),
    "focalnet_huge_fl4": replace(HUGE, levels=4, num_classes=0),
}
register(FocalNet, VARIANTS)
