"""EfficientViT of Microsoft Research Asia: a cascade of small heads, and several MLPs for each layer of attention.

    image -> 4 3x3 convs of stride 2 -> 3 stages of blocks, a halving before stages 2 and 3 -> mean -> norm -> fc
    block   -> 3x3 depthwise conv, MLP -> attention in windows -> 3x3 depthwise conv, MLP, each with a shortcut
    halving -> 3x3 depthwise conv, MLP -> mobile convolution with gates -> 3x3 depthwise conv, MLP

Liu et al. 2023, "EfficientViT: Memory Efficient Vision Transformer with Cascaded Group Attention", arXiv:2305.07027.
A head sees its own share of the channels plus what the head before it has read. Windows are those of nets built for
images of 224 pixels; they do not grow with the image, and where they do not divide its grid, it is padded.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.adapt import Layout
from zoo.layers.channel_attention import gates_of
from zoo.layers.conv import ConvNorm, halvings, silent
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import NormLinear
from zoo.layers.relative_position import distance_bias, distances
from zoo.layers.reparam import fold_branches
from zoo.layers.table import RELU
from zoo.layers.windows import tiles
from zoo.probe import Geometry, Grid, attention, tap
from zoo.registry import register

KEY_DIM = 16  # channels of a head's queries and keys
WINDOWS = 7, 7, 4  # side in each stage, in cells
Make = Callable[..., nn.Module]  # ConvNorm, or the same under other names


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one EfficientViT from another."""

    dims: tuple[int, int, int]  # channels of each stage
    num_heads: tuple[int, int, int]  # in each stage
    kernels: tuple[int, int, int, int] = (7, 5, 3, 3)  # of the conv that each head's queries go through
    depths: tuple[int, int, int] = (1, 2, 3)  # blocks in each stage


class Residual(nn.Module):
    """m, plus the input. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, m: nn.Module, drop_path: float):
        super().__init__()
        self.m, self.drop_path = m, DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.m(x))


class Depthwise(Residual):
    """The same of a depthwise conv, which then takes in the shortcut for inference. (B, C, H, W) -> (B, C, H, W)."""

    def folded(self) -> nn.Module:
        return fold_branches([self.m, nn.Identity()])


class Mlp(nn.Module):
    """(B, C, H, W) -> (B, C, H, W). `make` makes a conv and its norm."""

    def __init__(self, dim: int, make: Make):
        super().__init__()
        self.pw1, self.act = make(dim, 2 * dim, 1), RELU()
        self.pw2 = silent(make(2 * dim, dim, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.pw2(self.act(self.pw1(x)))


class Cascade(nn.Module):
    """Heads one after another, in windows of side x side cells. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, dim: int, num_heads: int, side: int, kernels: tuple[int, ...]):
        super().__init__()
        self.side, self.sizes = side, [KEY_DIM, KEY_DIM, dim // num_heads]
        self.qkvs = nn.ModuleList(ConvNorm(dim // num_heads, sum(self.sizes), 1) for _ in range(num_heads))
        self.dws = nn.ModuleList(ConvNorm(KEY_DIM, KEY_DIM, kernel, groups=KEY_DIM) for kernel in kernels[:num_heads])
        self.proj = nn.Sequential(RELU(), silent(ConvNorm(dim, dim, 1)))
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, side * side))

    def read(self, x: Tensor, geometry: Callable[[], Geometry]) -> Tensor:
        """What each head reads in its window. (B, C, side, side) -> (B, C, side, side)."""
        bias = distance_bias(self.attention_biases, distances(self.side, self.side, x.device))
        found = []
        for i, part in enumerate(x.chunk(len(self.qkvs), 1)):
            q, k, v = self.qkvs[i](part + found[-1] if found else part).split(self.sizes, 1)
            q, k, v = (t.flatten(2).transpose(1, 2)[:, None] for t in (self.dws[i](q), k, v))  # (B, 1, N, d) each
            y = attention(q, k, v, layer=self, geometry=geometry, bias=bias[i])
            found.append(y[:, 0].transpose(1, 2).unflatten(2, x.shape[2:]))
        return torch.cat(found, 1)

    def forward(self, x: Tensor) -> Tensor:
        grid = Grid(0, *x.shape[2:])
        if grid.shape == (self.side, self.side):
            return self.proj(self.read(x, lambda: Geometry.dense(grid)))
        into = tiles(*grid.shape, (self.side, self.side), x.device)
        slots = into.cut(x.permute(0, 2, 3, 1)).transpose(1, 2).unflatten(2, into.size)
        x = into.merge(self.read(slots, into.geometry).flatten(2).transpose(1, 2))
        return self.proj(x.permute(0, 3, 1, 2))


class InWindows(nn.Module):
    """Cascade under the name that the checkpoints have. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, attn: Cascade):
        super().__init__()
        self.attn = attn

    def forward(self, x: Tensor) -> Tensor:
        return self.attn(x)


def local(dim: int, drop_path: float, silence: bool = True, make: Make = ConvNorm) -> tuple[Residual, Residual]:
    """Make 3x3 depthwise conv, and MLP, each with a shortcut. (B, dim, H, W) -> (B, dim, H, W) both."""
    depthwise = make(dim, dim, 3, groups=dim)
    return Depthwise(silent(depthwise) if silence else depthwise, drop_path), Residual(Mlp(dim, make), drop_path)


class Block(nn.Module):
    """(B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, i: int, drop_path: float, cfg: Config):
        super().__init__()
        dim = cfg.dims[i]
        self.dw0, self.ffn0 = local(dim, drop_path)
        self.mixer = Residual(InWindows(Cascade(dim, cfg.num_heads[i], WINDOWS[i], cfg.kernels)), drop_path)
        self.dw1, self.ffn1 = local(dim, drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return self.ffn1(self.dw1(self.mixer(self.ffn0(self.dw0(x)))))


class Merging(nn.Module):
    """1x1 conv -> 3x3 depthwise conv -> gates -> 1x1 conv. (B, C, H, W) -> (B, dim, H/2, W/2), rounded up."""

    def __init__(self, dim_in: int, dim: int, make: Make = ConvNorm):
        super().__init__()
        inner = 4 * dim_in
        self.conv1, self.act = make(dim_in, inner, 1), RELU()
        self.conv2, self.se = make(inner, inner, 3, 2, groups=inner), gates_of(1 / 4)(inner)
        self.conv3 = make(inner, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.conv2(self.act(self.conv1(x))))
        return self.conv3(self.se(x))


class Stage(nn.Module):
    """Halve the grid (not before the first stage), then blocks. (B, C, H, W) -> (B, dims[i], H/2, W/2), rounded up."""

    def __init__(self, i: int, drop_paths: list[float], cfg: Config):
        super().__init__()
        self.downsample = nn.Sequential()
        if i:
            dim_in, dim = cfg.dims[i - 1 : i + 1]
            self.downsample.add_module("res1", nn.Sequential(*local(dim_in, drop_paths[0], silence=False)))
            self.downsample.add_module("patchmerge", Merging(dim_in, dim))
            self.downsample.add_module("res2", nn.Sequential(*local(dim, drop_paths[0], silence=False)))
        self.blocks = nn.Sequential(*(Block(i, rate, cfg) for rate in drop_paths))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class EfficientViT(Backbone):
    """Image (B, 3, H, W) -> features (B, dims[-1], H/64, W/64), rounded up -> logits (B, num_classes)."""

    readout = "mean_norm"
    classifier_key = "head.linear"
    layouts = (Layout(unused=r"attention_bias_idxs$"),)  # they follow from the grids
    no_rollout = "within a layer, each head reads what the head before it has read"

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes = cfg.dims[-1], cfg.num_classes
        self.patch_embed = halvings(ConvNorm, cfg.dims[0], 4, RELU, "relu")
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        self.stages = nn.Sequential(*(Stage(i, stage_rates, cfg) for i, stage_rates in enumerate(rates)))
        drop = nn.Dropout(cfg.drop)
        self.head = NormLinear(self.num_features, cfg.num_classes, drop) if cfg.num_classes else drop

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for i, stage in enumerate(self.stages, 1):
            x = tap(f"stage{i}", stage(x), "NCHW")
        return tap("cam", x, "NCHW")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = x.mean((2, 3))
        return x if pre_logits else self.head(x)


FIVES = (5, 5, 5, 5)
VARIANTS = {
    "efficientvit_m0": Config((64, 128, 192), (4, 4, 4), FIVES),
    "efficientvit_m1": Config((128, 144, 192), (2, 3, 3)),
    "efficientvit_m2": Config((128, 192, 224), (4, 3, 2)),
    "efficientvit_m3": Config((128, 240, 320), (4, 3, 4), FIVES),
    "efficientvit_m4": Config((128, 256, 384), (4, 4, 4)),
    "efficientvit_m5": Config((192, 288, 384), (3, 3, 4), depths=(1, 3, 4)),
}
register(EfficientViT, VARIANTS)
