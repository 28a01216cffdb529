"""Swin Transformer: attention inside small windows, which every second block shifts by half so that they overlap.

    image -> 4x4 patches -> 4 stages of blocks, 2x2 tokens merged before stages 2 to 4 -> norm -> mean -> fc
    block -> norm -> attention in each window -> + shortcut -> norm -> MLP -> + shortcut

Liu et al. 2021, "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", arXiv:2103.14030.

Any picture that patches divide goes. A grid of tokens that windows do not divide is padded below and to the right;
along an axis where it is no longer than a window, the window shrinks to it, its position biases with it, and nothing
is shifted. So a picture gets what a model built for its size would give.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.base import Backbone
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.embed import PatchEmbed
from zoo.layers.head import ClassifierHead
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm
from zoo.layers.relative_position import offsets, relative_bias, table_side
from zoo.probe import Geometry, Grid, attention, tap
from zoo.registry import register

EPS = 1e-5
MASKED = -100.0  # added to the score of two tokens that stand side by side only because the grid was rolled


@dataclass(frozen=True)
class Config:
    """What tells one Swin from another."""

    dim: int  # channels of the first stage; each later one has twice as many
    depths: tuple[int, ...]  # blocks in each stage
    num_heads: tuple[int, ...]  # in each stage
    window: tuple[int, ...] = (7, 7, 7, 7)  # side of a window in each stage, in tokens
    patch: int = 4  # side of a patch in pixels
    mlp_ratio: float = 4.0
    num_classes: int = 1000
    drop: float = 0.0
    drop_path: float = 0.0


@dataclass(frozen=True)
class Windows:
    """How a grid (H, W) is cut into n windows of h x w slots."""

    size: tuple[int, int]  # h, w
    index: Tensor  # (n, h * w): the token in each slot, row by row; -1 is padding
    source: Tensor  # (n * h * w,): the same for a gather, padding at H * W
    slot: Tensor  # (H * W,): where each token went
    offset: Tensor  # (h * w, h * w): which row of the bias table a query and a key share
    mask: Tensor | None  # (n, 1, h * w, h * w), if anything is shifted


def cut(x: Tensor, h: int, w: int) -> Tensor:
    """(H, W) -> (H/h * W/w, h * w)."""
    return x.unflatten(1, (-1, w)).unflatten(0, (-1, h)).transpose(1, 2).flatten(2).flatten(0, 1)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # an inference tensor, once cached, could never serve a training step
def windows(height: int, width: int, side: int, shifted: bool, device: torch.device) -> Windows:
    """Cut a grid of height x width tokens into windows of side x side, or smaller where the grid is."""
    h, w = min(height, side), min(width, side)
    down, right = h // 2 * (shifted and height > h), w // 2 * (shifted and width > w)
    token = torch.arange(height * width, device=device).view(height, width).roll((-down, -right), (0, 1))
    token = F.pad(token, (0, -width % w, 0, -height % h), value=-1)
    index = cut(token, h, w)
    flat = index.flatten()
    filled = (flat >= 0).nonzero()[:, 0]
    mask = None
    if down or right:  # regions count from the padded edge, as in the reference: padding lets some rolled ends meet
        rows, cols = (torch.arange(n, device=device) for n in token.shape)
        region = cut(2 * (rows >= len(rows) - down)[:, None] + 1 * (cols >= len(cols) - right), h, w)
        mask = MASKED * (region[:, None, :, None] != region[:, None, None, :]).float()
    return Windows(
        size=(h, w),
        index=index,
        source=torch.where(flat < 0, height * width, flat),
        slot=filled[flat[filled].argsort()],
        offset=offsets(h, w, device),
        mask=mask,
    )


class WindowAttention(nn.Module):
    """Attention among the tokens of each window, biased by their offset. (B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, dim: int, num_heads: int, side: int, shifted: bool):
        super().__init__()
        self.num_heads, self.side, self.shifted = num_heads, side, shifted
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * side - 1) ** 2, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def bias(self, into: Windows, batch: int) -> Tensor:
        """What is added to the scores. -> (1 or batch * n, heads, h * w, h * w)."""
        bias = relative_bias(self.relative_position_bias_table, self.side, into.size, into.offset)
        return bias[None] if into.mask is None else (bias + into.mask.to(bias.dtype)).repeat(batch, 1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, dim = x.shape
        into = windows(height, width, self.side, self.shifted, x.device)
        slots, tokens = into.source.numel(), height * width
        x = x.flatten(1, 2)
        if slots > tokens:
            x = F.pad(x, (0, 0, 0, 1))
        x = x.index_select(1, into.source).view(-1, into.index.shape[1], dim)  # (B * n, h * w, C)
        q, k, v = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        grid = Grid(0, height, width)
        x = attention(
            q,
            k,
            v,
            layer=self,
            geometry=lambda: Geometry(into.index, into.index, grid, grid),
            bias=self.bias(into, batch),
        )
        x = x.transpose(1, 2).reshape(batch, slots, dim).index_select(1, into.slot)
        return self.proj(x).view(batch, height, width, dim)


class Block(nn.Module):
    """(B, H, W, C) -> (B, H, W, C)."""

    def __init__(self, dim: int, num_heads: int, side: int, shifted: bool, drop_path: float, mlp_ratio: float):
        super().__init__()
        self.norm1 = LayerNorm(dim, EPS)
        self.attn = WindowAttention(dim, num_heads, side, shifted)
        self.norm2 = LayerNorm(dim, EPS)
        self.mlp = Mlp(dim, int(mlp_ratio * dim))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PatchMerging(nn.Module):
    """Each 2x2 tokens become one; an odd grid is padded. (B, H, W, C) -> (B, ceil(H/2), ceil(W/2), 2 * C)."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm = LayerNorm(4 * dim, EPS)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        x = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (B, H/2, 2, W/2, 2, C)
        return self.reduction(self.norm(x.permute(0, 1, 3, 4, 2, 5).flatten(3)))


class Stage(nn.Module):
    """Merge patches (not before the first stage), then blocks. (B, H, W, C) -> (B, H/2, W/2, 2 * C)."""

    def __init__(self, i: int, drop_paths: list[float], cfg: Config):
        super().__init__()
        dim, heads, side = cfg.dim * 2**i, cfg.num_heads[i], cfg.window[i]
        self.downsample = PatchMerging(dim // 2) if i else nn.Identity()
        self.blocks = nn.Sequential(
            *(Block(dim, heads, side, j % 2 == 1, rate, cfg.mlp_ratio) for j, rate in enumerate(drop_paths))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class NormedPatchEmbed(PatchEmbed):
    """(B, 3, H, W) -> (B, H/patch, W/patch, C)."""

    def __init__(self, patch: int, dim: int):
        super().__init__(patch, dim)
        self.norm = LayerNorm(dim, EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(super().forward(x).permute(0, 2, 3, 1))


class Swin(Backbone):
    """Image (B, 3, H, W) -> features (B, H/32, W/32, num_features) -> logits (B, num_classes)."""

    readout = "norm_mean"

    def __init__(self, cfg: Config):
        super().__init__()
        stages = len(cfg.depths)
        self.num_features, self.num_classes = cfg.dim * 2 ** (stages - 1), cfg.num_classes
        rates = drop_path_rates(cfg.drop_path, cfg.depths)
        self.patch_embed = NormedPatchEmbed(cfg.patch, cfg.dim)
        self.layers = nn.ModuleList(Stage(i, rates[i], cfg) for i in range(stages))
        self.norm = LayerNorm(self.num_features, EPS)
        self.head = ClassifierHead(self.num_features, cfg.num_classes, cfg.drop)

    @classmethod
    def fit(cls, cfg: Config, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes and the side of each stage's windows off a checkpoint."""
        sides = list(cfg.window)
        for i in range(len(cfg.depths)):
            table = state_dict.get(f"layers.{i}.blocks.0.attn.relative_position_bias_table")
            if table is not None:
                sides[i] = table_side(table)
        return super().fit(cfg, state_dict) | {"window": tuple(sides)}

    @classmethod
    def adapt(cls, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Leave out what published files hold too and the sizes alone tell: indices and masks."""
        known = ("relative_position_index", "attn_mask")
        return {key: value for key, value in state_dict.items() if not key.endswith(known)}

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for i, stage in enumerate(self.layers):
            x = tap(f"stage{i + 1}", stage(x), "NHWC")
        return tap("cam", self.norm(x), "NHWC")

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return self.head(x.permute(0, 3, 1, 2), pre_logits)


W12 = (12, 12, 12, 12)
VARIANTS = {
    "swin_tiny_patch4_window7_224": Config(96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin_small_patch4_window7_224": Config(96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin_base_patch4_window7_224": Config(128, (2, 2, 18, 2), (4, 8, 16, 32)),
    "swin_base_patch4_window12_384": Config(128, (2, 2, 18, 2), (4, 8, 16, 32), W12),
    "swin_large_patch4_window7_224": Config(192, (2, 2, 18, 2), (6, 12, 24, 48)),
    "swin_large_patch4_window12_384": Config(192, (2, 2, 18, 2), (6, 12, 24, 48), W12),
    "swin_cifar": Config(48, (2, 4, 2), (3, 6, 12), (4, 4, 4), patch=2, mlp_ratio=3.5, num_classes=10),
}
register(Swin, VARIANTS)
