"""EfficientViM: a state space model that mixes channels in a few hidden states, not in every place.

    image -> four 3x3 convs (H/16) -> 3 stages of blocks, the grid halved after the first two -> norm -> mean -> fc
    block  -> depthwise conv -> norm -> state space -> depthwise conv -> MLP; each is blended with its input
    states -> each sums the places, by a softmax over them -> gated MLP -> each place adds up the states, by its numbers

Lee et al. 2024, "EfficientViM: Efficient Vision Mamba with Hidden State Mixer based State Space Duality",
arXiv:2411.15241. The logits are a learned blend of four layers': three read the mean of a stage's last states, and one
the last features, which explanations look at. dist: as many layers again learned from a teacher, and the mean counts.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.families.efficientvit_mit import ConvAct
from zoo.layers.channel_attention import gates_of
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.head import classifier
from zoo.layers.init import init_linear
from zoo.layers.norm import LayerNorm, LayerNorm2d
from zoo.probe import tap
from zoo.registry import register

RATIO = 4  # channels inside an MLP, or inside what halves the grid, over those outside
conv_norm = partial(ConvAct, eps=1e-5)


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one EfficientViM from another."""

    dims: tuple[int, int, int]  # channels of each stage
    depths: tuple[int, int, int] = (2, 2, 2)  # blocks in each stage
    states: tuple[int, int, int] = (49, 25, 9)  # hidden states of a block in each stage
    distilled: bool = False  # last layers that learned from a teacher, too


def around(dim: int) -> ConvAct:
    """Make depthwise conv -> norm. (B, dim, H, W) -> (B, dim, H, W)."""
    return conv_norm(dim, dim, 3, groups=dim)


def linear(dim_in: int, dim: int) -> nn.Sequential:
    """(B, dim_in, N) -> (B, dim, N)."""
    return nn.Sequential(OrderedDict(conv=nn.Conv1d(dim_in, dim, 1, bias=False)))


class StateSpace(nn.Module):
    """(B, C, H, W) -> the same, and the hidden states (B, C, S)."""

    def __init__(self, dim: int, states: int):
        super().__init__()
        self.BCdt_proj = linear(dim, 3 * states)
        self.dw = nn.Sequential(OrderedDict(conv=conv(3 * states, 3 * states, 3, groups=3 * states)))
        self.hz_proj, self.out_proj = linear(dim, 2 * dim), linear(dim, dim)
        self.A = nn.Parameter(torch.empty(states).uniform_(1, 16))
        self.D = nn.Parameter(torch.ones(1))
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        places, shape = x.flatten(2), x.shape[2:]
        found = self.dw(self.BCdt_proj(places).unflatten(2, shape)).flatten(2)
        enter, leave, step = found.chunk(3, 1)  # (B, S, N) each
        enter = enter * (step + self.A[:, None]).softmax(2)
        h, gate = self.hz_proj(places @ enter.transpose(1, 2)).chunk(2, 1)  # (B, C, S) each
        h = self.out_proj(h * self.act(gate) + h * self.D)
        return (h @ leave).unflatten(2, shape), h


class Block(nn.Module):
    """(B, C, H, W) -> the same, and the hidden states (B, C, S)."""

    def __init__(self, dim: int, states: int, drop_path: float):
        super().__init__()
        self.mixer, self.norm = StateSpace(dim, states), LayerNorm2d(dim, 1e-5)
        self.dwconv1, self.dwconv2 = around(dim), around(dim)
        wide, narrow = conv_norm(dim, RATIO * dim, 1, act=nn.ReLU()), conv_norm(RATIO * dim, dim, 1)
        self.ffn = nn.Sequential(OrderedDict(fc1=wide, fc2=narrow))
        self.alpha, self.gate = nn.Parameter(torch.full((4, dim), 1e-4)), nn.Sigmoid()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second, third, fourth = self.gate(self.alpha)[..., None, None]
        x = x + self.drop_path(first * (self.dwconv1(x) - x))
        y, h = self.mixer(self.norm(x))
        x = x + self.drop_path(second * (y - x))
        x = x + self.drop_path(third * (self.dwconv2(x) - x))
        return x + self.drop_path(fourth * (self.ffn(x) - x)), h


class Halving(nn.Module):
    """(B, dim_in, H, W) -> (B, dim, H/2, W/2), rounded up."""

    def __init__(self, dim_in: int, dim: int):
        super().__init__()
        inner, relu = RATIO * dim, nn.ReLU
        self.dwconv1, self.dwconv2 = around(dim_in), around(dim)
        self.conv = nn.Sequential(
            conv_norm(dim_in, inner, 1, act=relu()),
            conv_norm(inner, inner, 3, 2, inner, act=relu()),
            gates_of(1 / 4)(inner),
            conv_norm(inner, dim, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x + self.dwconv1(x))
        return x + self.dwconv2(x)


class Stage(nn.Module):
    """Blocks, then a halving, if one follows. (B, C, H, W) -> (B, dim_out, H/2, W/2), and the last states (B, C, S)."""

    def __init__(self, dim: int, dim_out: int, states: int, drop_paths: list[float]):
        super().__init__()
        self.blocks = nn.ModuleList(Block(dim, states, rate) for rate in drop_paths)
        self.downsample = Halving(dim, dim_out) if dim_out else nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = x
        for block in self.blocks:
            x, h = block(x)
        return self.downsample(x), h


class EfficientViM(Backbone):
    """Image (B, 3, H, W) -> means of each stage's states and of the features (B, num_features) -> logits.

    The features have a grid of H/64 x W/64, rounded up.
    """

    readout = "norm_mean"
    no_attention = "its places write into a few hidden states and read from them, so that no place reads another"
    classifier_key = "heads.3"

    def __init__(self, cfg: Config):
        super().__init__()
        self.dims = *cfg.dims, cfg.dims[-1]  # of what each last layer reads
        self.num_features, self.num_classes, dim = sum(self.dims), cfg.num_classes, cfg.dims[0]
        stem = nn.Sequential()
        for dim_in, width in pairwise((3, dim // 8, dim // 4, dim // 2, dim)):
            stem.append(conv_norm(dim_in, width, 3, 2, act=nn.ReLU() if width < dim else None))
        self.patch_embed = nn.Sequential(OrderedDict(conv=stem))
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        stages = zip(cfg.dims, (*cfg.dims[1:], 0), cfg.states, rates, strict=True)
        self.stages = nn.ModuleList(Stage(*each) for each in stages)
        self.norm = nn.ModuleList(LayerNorm(dim, 1e-5) for dim in cfg.dims)
        self.norm.append(LayerNorm2d(cfg.dims[-1], 1e-5))
        self.head_drop = nn.Dropout(cfg.drop)
        self.teachers = ("", "_dist") if cfg.distilled else ("",)
        for suffix in self.teachers:
            self.add_module(f"heads{suffix}", nn.ModuleList(classifier(dim, cfg.num_classes) for dim in self.dims))
            self.register_parameter(f"weights{suffix}", nn.Parameter(torch.ones(len(self.dims))))
        self.apply(init_linear)

    def forward_features(self, x: Tensor) -> Tensor:
        x, means = self.patch_embed(x), []
        *norms, last = self.norm
        for i, (stage, norm) in enumerate(zip(self.stages, norms, strict=True), 1):
            x, h = stage(x)
            x = tap(f"stage{i}", x, "NCHW")
            means.append(norm(h.transpose(1, 2)).mean(1))
        return torch.cat([*means, tap("cam", last(x), "NCHW").mean((2, 3))], 1)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.head_drop(x)
        if pre_logits or not self.num_classes:
            return x
        parts, logits = x.split(self.dims, 1), []
        for suffix in self.teachers:
            heads, shares = self.get_submodule(f"heads{suffix}"), self.get_parameter(f"weights{suffix}").softmax(0)
            given = [head(part) for head, part in zip(heads.children(), parts, strict=True)]
            logits.append(shares @ torch.stack(given, 1))
        return torch.stack(logits).mean(0)


M1 = Config((128, 192, 320))
M2 = Config((128, 256, 512))
M3 = Config((224, 320, 512))
M4 = Config((224, 320, 512), (3, 4, 2), (64, 32, 16))

VARIANTS = {
    "efficientvim_m1": M1,
    "efficientvim_m2": M2,
    "efficientvim_m3": M3,
    "efficientvim_m4": M4,
    "efficientvim_m1_dist": replace(M1, distilled=True),
    "efficientvim_m2_dist": replace(M2, distilled=True),
    "efficientvim_m3_dist": replace(M3, distilled=True),
    "efficientvim_m4_dist": replace(M4, distilled=True),
}
register(EfficientViM, VARIANTS)
