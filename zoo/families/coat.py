"""CoaT: a pyramid whose attention costs as much as a linear layer; in the full sizes its scales read each other.

    image -> 4 scales, each: patches of 4x4 (later 2x2) of the last, norm -> + class token -> serial blocks
    full  -> + parallel blocks, in which scales 2 to 4 attend, each to itself, and add up what they have read
    -> norm -> class token of scale 4 (full: a weighted sum of those of scales 2 to 4) -> fc
    serial block -> + depthwise conv -> norm -> attention -> + shortcut -> norm -> MLP -> + shortcut

Xu et al. 2021, "Co-Scale Conv-Attentional Image Transformers", arXiv:2104.06399. All blocks of a scale share the convs
that tell positions. The row that ends in 384 is for weights trained on images of that side: the net is the same.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.conv import conv
from zoo.layers.drop import DropPath
from zoo.layers.embed import ConvEmbed, check_patches, position_table
from zoo.layers.head import classifier
from zoo.layers.init import init_linear
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm
from zoo.probe import Geometry, Grid, attend, tap
from zoo.registry import register

KERNELS = {3: 2, 5: 3, 7: 3}  # side of a relative position's conv: how many heads have it
HEADS = sum(KERNELS.values())


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one CoaT from another."""

    dims: tuple[int, ...]  # channels in each scale
    depths: tuple[int, ...] = (2, 2, 2, 2)  # serial blocks in each scale
    mlp_ratios: tuple[int, ...] = (8, 8, 4, 4)  # hidden width of an MLP over dim, in each scale
    parallel: int = 0  # parallel blocks


class Position(nn.Module):
    """Add a depthwise conv of the patches. (B, 1 + N, C) -> (B, 1 + N, C)."""

    def __init__(self, dim: int):
        super().__init__()
        self.proj = conv(dim, dim, 3, groups=dim, bias=True)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        patches = as_map(x, grid)
        return torch.cat([x[:, :1], (self.proj(patches) + patches).flatten(2).transpose(1, 2)], 1)


class RelativePosition(nn.Module):
    """Queries times a depthwise conv of the values; 0 for the class token. Twice (B, 1 + N, C) -> (B, 1 + N, C)."""

    def __init__(self, dim: int):
        super().__init__()
        self.dims = [dim // HEADS * heads for heads in KERNELS.values()]
        convs = (
            conv(part, part, kernel, groups=part, bias=True) for kernel, part in zip(KERNELS, self.dims, strict=True)
        )
        self.conv_list = nn.ModuleList(convs)

    def forward(self, q: Tensor, v: Tensor, grid: Grid) -> Tensor:
        parts = as_map(v, grid).split(self.dims, 1)
        near = torch.cat([layer(part) for layer, part in zip(self.conv_list, parts, strict=True)], 1)
        return F.pad(q[:, 1:] * near.flatten(2).transpose(1, 2), (0, 0, 1, 0))


class FactorAttention(nn.Module):
    """q (softmax(k)^T v): each channel sums the values once, and tokens weigh these sums. (B, N, C) -> (B, N, C).

    What a probe sees is softmax(k), over the tokens: shares, with a row for each channel of a head. The queries, whose
    numbers have either sign, only mix what these rows have read.
    """

    def __init__(self, dim: int, crpe: RelativePosition):
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.crpe = crpe

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        qkv = self.qkv(x)
        q, k, v = qkv.unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)  # (B, h, N, d) each
        channels = q.shape[3]

        def geometry() -> Geometry:
            rows, tokens = torch.arange(channels)[None], torch.arange(grid.tokens)[None]
            return Geometry(rows, tokens, Grid(channels, 0, 0), grid)

        sums = attend(lambda: k.softmax(2).transpose(2, 3), v, layer=self, geometry=geometry)  # (B, h, d, d)
        y = (q @ (sums * channels**-0.5)).transpose(1, 2).flatten(2)
        q, _, v = qkv.chunk(3, 2)
        return self.proj(y + self.crpe(q, v, grid))


class SerialBlock(nn.Module):
    """(B, 1 + N, C) -> (B, 1 + N, C). `last`: explanations should look at what its attention reads."""

    def __init__(self, dim: int, mlp_ratio: int, drop_path: float, cpe: Position, crpe: RelativePosition):
        super().__init__()
        self.cpe = cpe
        self.norm1, self.factoratt_crpe = LayerNorm(dim), FactorAttention(dim, crpe)
        self.norm2, self.mlp = LayerNorm(dim), Mlp(dim, mlp_ratio * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: Grid, last: bool) -> Tensor:
        x = self.cpe(x, grid)
        y = self.norm1(x)
        if last:
            y = tap("cam", y, "NLC", grid)
        x = x + self.drop_path(self.factoratt_crpe(y, grid))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class ParallelBlock(nn.Module):
    """The tokens of scales 2 to 4, each (B, 1 + N, C) -> (B, 1 + N, C). `last`: as above, of scale 4."""

    def __init__(self, dim: int, mlp_ratio: int, drop_path: float, crpes: list[RelativePosition]):
        super().__init__()
        for i, crpe in enumerate(crpes, 2):
            self.add_module(f"norm1{i}", LayerNorm(dim))
            self.add_module(f"factoratt_crpe{i}", FactorAttention(dim, crpe))
            self.add_module(f"norm2{i}", LayerNorm(dim))
        self.mlp2 = self.mlp3 = self.mlp4 = Mlp(dim, mlp_ratio * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, scales: list[Tensor], grids: list[Grid], last: bool) -> list[Tensor]:
        read = []
        for i, (x, grid) in enumerate(zip(scales, grids, strict=True), 2):
            y = self.get_submodule(f"norm1{i}")(x)
            if last and i == 4:
                y = tap("cam", y, "NLC", grid)
            read.append(self.get_submodule(f"factoratt_crpe{i}")(y, grid))
        out = []
        for i, (x, grid) in enumerate(zip(scales, grids, strict=True), 2):
            x = x + self.drop_path(sum(resized(y, old, grid) for y, old in zip(read, grids, strict=True)))
            out.append(x + self.drop_path(self.mlp2(self.get_submodule(f"norm2{i}")(x))))
        return out


def as_map(x: Tensor, grid: Grid) -> Tensor:
    """The patches. (B, 1 + N, C) -> (B, C, H, W)."""
    return x[:, 1:].transpose(1, 2).unflatten(2, grid.shape)


def resized(x: Tensor, old: Grid, new: Grid) -> Tensor:
    """Resize the patches' grid; the class token stays as it is. (B, 1 + N, C) -> (B, 1 + N', C)."""
    if old == new:
        return x
    patches = F.interpolate(as_map(x, old), new.shape, mode="bilinear")
    return torch.cat([x[:, :1], patches.flatten(2).transpose(1, 2)], 1)


class CoaT(Backbone):
    """Image (B, 3, H, W) -> class tokens (B, 1 or 3, num_features) -> logits (B, num_classes).

    Any H and W that 32 divides.
    """

    readout = "token"
    classifier_key = "head"
    no_rollout = (
        "its queries weigh what was read by numbers of either sign, and each scale has a class token of its own"
    )
    smallest = 32

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes = cfg.dims[-1], cfg.num_classes
        crpes: list[RelativePosition] = []
        for i, (dim, depth, ratio) in enumerate(zip(cfg.dims, cfg.depths, cfg.mlp_ratios, strict=True)):
            cpe, crpe, side = Position(dim), RelativePosition(dim), 2 if i else 4
            crpes.append(crpe)
            self.add_module(f"patch_embed{i + 1}", ConvEmbed(cfg.dims[i - 1] if i else 3, dim, side, side))
            self.register_parameter(f"cls_token{i + 1}", position_table(1, dim))
            self.add_module(f"cpe{i + 1}", cpe)
            self.add_module(f"crpe{i + 1}", crpe)
            blocks = (SerialBlock(dim, ratio, cfg.drop_path, cpe, crpe) for _ in range(depth))
            self.add_module(f"serial_blocks{i + 1}", nn.ModuleList(blocks))
        self.aggregate = nn.Conv1d(3, 1, 1) if cfg.parallel else None
        if cfg.parallel:
            dim, ratio = cfg.dims[-1], cfg.mlp_ratios[-1]
            blocks = (ParallelBlock(dim, ratio, cfg.drop_path, crpes[1:]) for _ in range(cfg.parallel))
            self.parallel_blocks = nn.ModuleList(blocks)
            self.norm2, self.norm3 = LayerNorm(dim), LayerNorm(dim)
        self.norm4 = LayerNorm(self.num_features)
        self.head_drop = nn.Dropout(cfg.drop)
        self.head = classifier(self.num_features, cfg.num_classes)
        self.apply(init_linear)

    def forward_features(self, x: Tensor) -> Tensor:
        check_patches(x, self.smallest)
        scales, grids = [], []
        for i in range(1, 5):
            x = self.get_submodule(f"patch_embed{i}")(x)
            grid = Grid(1, *x.shape[2:])
            token = self.get_parameter(f"cls_token{i}").expand(len(x), -1, -1)
            x = torch.cat([token, x.flatten(2).transpose(1, 2)], 1)
            blocks = list(self.get_submodule(f"serial_blocks{i}").children())
            for block in blocks:
                x = block(x, grid, last=self.aggregate is None and i == 4 and block is blocks[-1])
            x = tap(f"stage{i}", x, "NLC", grid)
            scales.append(x)
            grids.append(grid)
            x = as_map(x, grid)
        if self.aggregate is None:
            return self.norm4(scales[3][:, :1])
        return self.exchange(scales[1:], grids[1:])

    def exchange(self, scales: list[Tensor], grids: list[Grid]) -> Tensor:
        """Run the parallel blocks on the tokens of scales 2 to 4. -> class tokens (B, 3, C) after their norms."""
        for j, block in enumerate(self.parallel_blocks, 1):
            told = zip(scales, grids, strict=True)
            scales = [self.get_submodule(f"cpe{i}")(x, grid) for i, (x, grid) in enumerate(told, 2)]
            scales = block(scales, grids, last=j == len(self.parallel_blocks))
            scales[2] = tap(f"stage{4 + j}", scales[2], "NLC", grids[2])
        norms = self.norm2, self.norm3, self.norm4
        return torch.cat([norm(x[:, :1]) for norm, x in zip(norms, scales, strict=True)], 1)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.head_drop((x if self.aggregate is None else self.aggregate(x))[:, 0])
        return x if pre_logits else self.head(x)


FOUR = 4, 4, 4, 4
MEDIUM = Config((128, 256, 320, 512), (3, 6, 10, 8), FOUR)

VARIANTS = {
    "coat_tiny": Config((152, 152, 152, 152), mlp_ratios=FOUR, parallel=6),
    "coat_mini": Config((152, 216, 216, 216), mlp_ratios=FOUR, parallel=6),
    "coat_small": Config((152, 320, 320, 320), mlp_ratios=FOUR, parallel=6),
    "coat_lite_tiny": Config((64, 128, 256, 320)),
    "coat_lite_mini": Config((64, 128, 320, 512)),
    "coat_lite_small": Config((64, 128, 320, 512), (3, 4, 6, 3)),
    "coat_lite_medium": MEDIUM,
    "coat_lite_medium_384": MEDIUM,
}
register(CoaT, VARIANTS)
