"""CrossViT: two transformers read small and large patches of one image, and their class tokens visit each other.

    image -> 12x12 patches (fine), and slightly smaller, 16x16 patches (coarse); each + class token, + positions
    -> 3 stages -> norms -> a linear layer for each class token -> mean of both
    stage -> blocks: 1 on fine tokens, several on coarse ones
          -> each class token, made as wide as the other branch, reads that branch's patches, and comes back

Chen et al. 2021, "CrossViT: Cross-Attention Multi-Scale Vision Transformer for Image Classification", arXiv:2103.14899.
Names with dagger have three convolutions in place of a patch's linear layer. An image of any size is resized to the
variant's, as in the reference, once for each branch. Explanations look at the fine patches that the coarse class token
reads last.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.families import vit
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.embed import PatchEmbed, position_table
from zoo.layers.head import classifier
from zoo.layers.init import init_linear
from zoo.layers.norm import LayerNorm
from zoo.probe import Geometry, Grid, attention, tap
from zoo.registry import register

FINE, COARSE = PATCHES = 12, 16  # pixels
HEAD_DIM = 32  # of the fine branch; twice as much in the coarse one
STAGES = 3


@dataclass(frozen=True, kw_only=True)
class Config(base.Config):
    """What tells one CrossViT from another."""

    dim: int  # channels of a fine token; a coarse one has twice as many
    depth: int  # blocks on coarse tokens in each stage
    mlp_ratio: int  # hidden width of an MLP over dim
    img_size: int = 240  # side of the square that images are resized to
    dagger: bool = False  # patches overlap, and go through three convolutions

    @property
    def dims(self) -> tuple[int, int]:
        return self.dim, 2 * self.dim

    @property
    def sides(self) -> tuple[int, int]:
        """Of the grids. The coarse branch resizes the image so that its patches fill it."""
        return self.img_size // FINE, self.img_size // (COARSE + 1)


class ConvPatches(nn.Module):
    """(B, 3, H, W) -> (B, dim, H/patch, W/patch)."""

    def __init__(self, patch: int, dim: int):
        super().__init__()
        second, third = ((3, 0), (1, 1)) if patch == FINE else ((2, 1), (2, 1))  # stride and padding
        self.proj = nn.Sequential(
            nn.Conv2d(3, dim // 4, 7, 4, 3), nn.ReLU(inplace=True),
            nn.Conv2d(dim // 4, dim // 2, 3, *second), nn.ReLU(inplace=True),
            nn.Conv2d(dim // 2, dim, 3, *third),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class CrossAttention(nn.Module):
    """The first token reads every token, itself included; `grid` counts it in its prefix. (B, N, C) -> (B, 1, C)."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.wq, self.wk, self.wv, self.proj = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        q, k, v = self.wq(x[:, :1]), self.wk(x), self.wv(x)
        q, k, v = (t.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for t in (q, k, v))  # (B, h, 1 or N, d)
        x = attention(q, k, v, layer=self, geometry=lambda: Geometry.first_query(grid))
        return self.proj(x.transpose(1, 2).flatten(2))


class Visit(nn.Module):
    """A class token takes the place of another branch's. (B, 1, C) and that branch (B, 1 + N, C) -> (B, 1, C).

    `last`: explanations should look at what it reads.
    """

    def __init__(self, dim: int, num_heads: int, drop_path: float):
        super().__init__()
        self.norm1, self.attn = LayerNorm(dim), CrossAttention(dim, num_heads)
        self.drop_path = DropPath(drop_path)

    def forward(self, token: Tensor, x: Tensor, grid: Grid, last: bool) -> Tensor:
        y = self.norm1(torch.cat([token, x[:, 1:]], 1))
        if last:
            y = tap("cam", y, "NLC", grid)
        return token + self.drop_path(self.attn(y, grid))


def widen(dim_in: int, dim: int) -> nn.Sequential:
    """Make what fits a class token to another branch. (B, 1, dim_in) -> (B, 1, dim)."""
    return nn.Sequential(LayerNorm(dim_in), nn.GELU(), nn.Linear(dim_in, dim))


class Stage(nn.Module):
    """Fine and coarse tokens, each (B, 1 + N, C) -> (B, 1 + N, C). `last` as above."""

    def __init__(self, drop_paths: list[float], cfg: Config):
        super().__init__()
        num_heads, (fine, coarse) = cfg.dim // HEAD_DIM, cfg.dims
        self.blocks = nn.ModuleList()
        for dim, rates in ((fine, drop_paths[:1]), (coarse, drop_paths)):
            like = vit.Config(dim=dim, num_heads=num_heads, mlp_ratio=cfg.mlp_ratio)
            self.blocks.append(nn.ModuleList(vit.Block(i, rate, like) for i, rate in enumerate(rates)))
        self.projs = nn.ModuleList([widen(fine, coarse), widen(coarse, fine)])
        self.fusion = nn.ModuleList(Visit(dim, num_heads, drop_paths[-1]) for dim in (coarse, fine))
        self.revert_projs = nn.ModuleList([widen(coarse, fine), widen(fine, coarse)])

    def forward(self, branches: list[Tensor], grids: list[Grid], last: bool) -> list[Tensor]:
        read = []
        for x, blocks, grid in zip(branches, self.blocks.children(), grids, strict=True):
            for block in blocks.children():
                x = block(x, grid)
            read.append(x)
        out = []
        for i, x in enumerate(read):
            host = 1 - i
            token = self.fusion[i](self.projs[i](x[:, :1]), read[host], grids[host], last and host == 0)
            out.append(torch.cat([self.revert_projs[i](token), x[:, 1:]], 1))
        return out


class CrossViT(Backbone):
    """Image (B, 3, H, W) -> class tokens, fine and coarse, (B, 3 * dim) -> logits (B, num_classes)."""

    readout = "token"
    classifier_key = "head.1"
    no_rollout = "each of its two branches has a class token and patches of its own"

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes, self.img_size = sum(cfg.dims), cfg.num_classes, cfg.img_size
        self.dims, self.sides = cfg.dims, cfg.sides
        embed = ConvPatches if cfg.dagger else PatchEmbed
        self.patch_embed = nn.ModuleList(embed(patch, dim) for patch, dim in zip(PATCHES, cfg.dims, strict=True))
        for i, (dim, side) in enumerate(zip(cfg.dims, cfg.sides, strict=True)):
            self.register_parameter(f"pos_embed_{i}", position_table(1 + side * side, dim))
            self.register_parameter(f"cls_token_{i}", position_table(1, dim))
        rates = drop_path_rates(cfg.drop_path, (cfg.depth,) * STAGES)
        self.blocks = nn.ModuleList(Stage(stage_rates, cfg) for stage_rates in rates)
        self.norm = nn.ModuleList(LayerNorm(dim) for dim in cfg.dims)
        self.head_drop = nn.Dropout(cfg.drop)
        self.head = nn.ModuleList(classifier(dim, cfg.num_classes) for dim in cfg.dims)
        self.apply(init_linear)

    @classmethod
    def fit(cls, cfg: Config, state_dict: dict[str, Tensor]) -> dict[str, int]:
        """Read the number of classes and the image's size."""
        side = round((state_dict["pos_embed_0"].shape[1] - 1) ** 0.5)
        return super().fit(cfg, state_dict) | {"img_size": side * FINE}

    def embed(self, x: Tensor, i: int) -> Tensor:
        """(B, 3, H, W) -> the tokens of a branch (B, 1 + N, dims[i])."""
        size = (self.sides[i] * PATCHES[i],) * 2
        if x.shape[2:] != size:
            x = F.interpolate(x, size, mode="bicubic")
        x = self.patch_embed[i](x).flatten(2).transpose(1, 2)
        token = self.get_parameter(f"cls_token_{i}").expand(len(x), -1, -1)
        return torch.cat([token, x], 1) + self.get_parameter(f"pos_embed_{i}")

    def forward_features(self, x: Tensor) -> Tensor:
        branches, grids = [self.embed(x, i) for i in (0, 1)], [Grid(1, side, side) for side in self.sides]
        for i, stage in enumerate(self.blocks, 1):
            branches = stage(branches, grids, last=i == STAGES)
            branches[0] = tap(f"stage{i}", branches[0], "NLC", grids[0])
        return torch.cat([norm(x[:, 0]) for norm, x in zip(self.norm, branches, strict=True)], 1)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.head_drop(x)
        if pre_logits or not self.num_classes:
            return x
        fine, coarse = (head(part) for head, part in zip(self.head.children(), x.split(self.dims, 1), strict=True))
        return (fine + coarse) / 2


NINE = Config(dim=128, depth=3, mlp_ratio=3)
FIFTEEN = Config(dim=192, depth=5, mlp_ratio=3)
EIGHTEEN = Config(dim=224, depth=6, mlp_ratio=3)

VARIANTS = {
    "crossvit_tiny_240": Config(dim=96, depth=4, mlp_ratio=4),
    "crossvit_small_240": Config(dim=192, depth=4, mlp_ratio=4),
    "crossvit_base_240": Config(dim=384, depth=4, mlp_ratio=4),
    "crossvit_9_240": NINE,
    "crossvit_15_240": FIFTEEN,
    "crossvit_18_240": EIGHTEEN,
    "crossvit_9_dagger_240": replace(NINE, dagger=True),
    "crossvit_15_dagger_240": replace(FIFTEEN, dagger=True),
    "crossvit_15_dagger_408": replace(FIFTEEN, dagger=True, img_size=408),
    "crossvit_18_dagger_240": replace(EIGHTEEN, dagger=True),
    "crossvit_18_dagger_408": replace(EIGHTEEN, dagger=True, img_size=408),
}
register(CrossViT, VARIANTS)
