"""VOLO: in the fine stage each cell predicts, from its own features, how its 3x3 neighbours are to be mixed.

    image -> 3 convs (H/2) -> 4x4 patches -> outlookers (H/8) -> 2x2 patches, + positions -> transformer blocks (H/16)
    -> + class token -> 2 class blocks -> norm -> fc of the token + half of each class's best patch
    outlooker -> norm -> outlook attention -> + shortcut -> norm -> MLP -> + shortcut

Yuan et al. 2021, "VOLO: Vision Outlooker for Visual Recognition", arXiv:2106.13112. The second linear layer,
which gives every patch logits of its own, is from token labelling: Jiang et al. 2021, arXiv:2104.10858.
"""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.attention import SelfAttention
from zoo.layers.conv import conv_relu
from zoo.layers.drop import DropPath, drop_path_rates
from zoo.layers.embed import check_patches, position_table, resize_position_map
from zoo.layers.halo_attention import slots
from zoo.layers.head import classifier
from zoo.layers.init import init_linear
from zoo.layers.kept import kept
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm
from zoo.probe import Geometry, Grid, attend, attention, tap
from zoo.registry import register

CLASS_DEPTH = 2  # class blocks
KERNEL, STRIDE = 3, 2  # of outlook attention: side of a neighbourhood, and from one to the next
PATCH = 16  # side of a patch of the coarse stages, in pixels
AUX = 0.5  # weight of the patches' logits


@dataclass(frozen=True)
class Config(base.Config):
    """What tells one VOLO from another."""

    depths: tuple[int, int, int, int]  # outlookers, then three stages of transformer blocks, which differ in nothing
    dim: int  # channels of a token in the coarse stages; outlookers have half as many
    num_heads: tuple[int, int]  # of outlookers, of the other blocks
    img_size: int = field(default=224, kw_only=True)  # side of the image that positions were learned on, pixels
    mlp_ratio: int = 3  # hidden width of an MLP over dim
    stem: int = 64  # channels of the first convs


class Neighbourhoods(NamedTuple):
    """A grid cut into n overlapping windows of k = KERNEL x KERNEL cells. -1 is padding."""

    slots: Tensor  # (n, k): the cell in each slot
    grid: Grid

    def cut(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, n, k, C), with zeros beyond the image."""
        return F.pad(x.flatten(1, 2), (0, 0, 0, 1))[:, self.slots]

    def add(self, x: Tensor) -> Tensor:
        """Add up what each cell has in its windows. (B, n, k, C) -> (B, H, W, C)."""
        target = torch.where(self.slots < 0, self.grid.tokens, self.slots).flatten()
        out = x.new_zeros(len(x), self.grid.tokens + 1, x.shape[3]).index_add(1, target, x.flatten(1, 2))
        return out[:, :-1].unflatten(1, self.grid.shape)

    def geometry(self) -> Geometry:
        return Geometry(self.slots, self.slots, self.grid, self.grid)


@kept(32)
def neighbourhoods(height: int, width: int, device: torch.device) -> Neighbourhoods:
    """Centre a window on every second cell of a grid, along both axes."""
    grid = Grid(0, height, width)
    down, across = -(-height // STRIDE), -(-width // STRIDE)
    return Neighbourhoods(slots(grid, down, across, STRIDE, KERNEL, -(KERNEL // 2), device), grid)


class OutlookAttention(nn.Module):
    """A linear layer of a window's mean gives all weights between its cells (section 3.1). (B, H, W, C) -> same."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads, self.scale = num_heads, (dim // num_heads) ** -0.5
        self.v = nn.Linear(dim, dim, bias=False)
        self.attn = nn.Linear(dim, KERNEL**4 * num_heads)
        self.proj = nn.Linear(dim, dim)
        self.pool = nn.AvgPool2d(STRIDE, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        around = neighbourhoods(x.shape[1], x.shape[2], x.device)
        v = around.cut(self.v(x)).unflatten(3, (self.num_heads, -1)).transpose(2, 3).flatten(0, 1)  # (B * n, h, k, d)

        def weights() -> Tensor:
            scores = self.attn(self.pool(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)).flatten(0, 2)
            return (scores.unflatten(1, (self.num_heads, KERNEL**2, -1)) * self.scale).softmax(3)

        y = attend(weights, v, layer=self, geometry=around.geometry)
        return self.proj(around.add(y.transpose(1, 2).flatten(2).unflatten(0, (len(x), -1))))


class Residual(nn.Module):
    """norm -> attention -> + shortcut -> norm -> MLP -> + shortcut. (B, ..., C) -> (B, ..., C)."""

    def __init__(self, dim: int, attn: nn.Module, mlp_ratio: int, drop_path: float = 0.0):
        super().__init__()
        self.norm1, self.attn = LayerNorm(dim, 1e-5), attn
        self.norm2, self.mlp = LayerNorm(dim, 1e-5), Mlp(dim, mlp_ratio * dim)
        self.drop_path = DropPath(drop_path)

    def update(self, x: Tensor, y: Tensor) -> Tensor:
        """Add the attention's output y to x, then the MLP's. (B, ..., C) each."""
        x = x + self.drop_path(y)
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Outlooker(Residual):
    """(B, H, W, C) -> (B, H, W, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return self.update(x, self.attn(self.norm1(x)))


class Transformer(Residual):
    """(B, H, W, C) -> (B, H, W, C)."""

    def forward(self, x: Tensor) -> Tensor:
        grid = Grid(0, x.shape[1], x.shape[2])
        return self.update(x, self.attn(self.norm1(x).flatten(1, 2), grid).unflatten(1, grid.shape))


class ClassAttention(nn.Module):
    """The first token reads every token, itself included. (B, N, C) -> (B, 1, C)."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.kv = nn.Linear(dim, 2 * dim, bias=False)
        self.q = nn.Linear(dim, dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        q = self.q(x[:, :1]).unflatten(2, (self.num_heads, -1)).transpose(1, 2)  # (B, h, 1, d)
        k, v = self.kv(x).unflatten(2, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (B, h, N, d) each
        x = attention(q, k, v, layer=self, geometry=lambda: Geometry.first_query(grid))
        return self.proj(x.transpose(1, 2).flatten(2))


class ClassBlock(Residual):
    """(B, 1 + N, C) -> (B, 1 + N, C), in which only the first token changes."""

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return torch.cat([self.update(x[:, :1], self.attn(self.norm1(x), grid)), x[:, 1:]], 1)


class Patches(nn.Module):
    """(B, H, W, C) -> (B, H/2, W/2, dim)."""

    def __init__(self, dim_in: int, dim: int):
        super().__init__()
        self.proj = nn.Conv2d(dim_in, dim, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Stem(nn.Module):
    """(B, 3, H, W) -> (B, H/8, W/8, dim)."""

    def __init__(self, hidden: int, dim: int):
        super().__init__()
        same = (*conv_relu(hidden, hidden, 3), *conv_relu(hidden, hidden, 3))
        self.conv = nn.Sequential(*conv_relu(3, hidden, 7, 2), *same)
        self.proj = nn.Conv2d(hidden, dim, 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        check_patches(x, PATCH)
        return self.proj(self.conv(x)).permute(0, 2, 3, 1)


class VOLO(Backbone):
    """Image (B, 3, H, W) -> tokens (B, 1 + N, dim), N = H/16 * W/16 -> logits (B, num_classes).

    Any H and W that 16 divides: the positions are resized to the grid.
    """

    readout = "token"  # and, for a third of a logit, one patch: see `patch_logits`
    classifier_key = "head"

    def __init__(self, cfg: Config):
        super().__init__()
        dim, (few, many), ratio = cfg.dim, cfg.num_heads, cfg.mlp_ratio
        self.smallest = PATCH
        self.num_features, self.num_classes, self.img_size = dim, cfg.num_classes, cfg.img_size
        self.patch_embed = Stem(cfg.stem, dim // 2)
        side = cfg.img_size // PATCH
        self.pos_embed = nn.Parameter(position_table(side * side, dim).data.unflatten(1, (side, side)))
        fine, *coarse = drop_path_rates(cfg.drop_path, cfg.depths)
        self.network = nn.ModuleList(
            [
                nn.Sequential(*(Outlooker(dim // 2, OutlookAttention(dim // 2, few), ratio, rate) for rate in fine)),
                Patches(dim // 2, dim),
                *(
                    nn.Sequential(*(Transformer(dim, SelfAttention(dim, many, False), ratio, rate) for rate in rates))
                    for rates in coarse
                ),
            ]
        )
        self.post_network = nn.ModuleList(ClassBlock(dim, ClassAttention(dim, many), ratio) for _ in range(CLASS_DEPTH))
        self.cls_token = position_table(1, dim)
        self.norm = LayerNorm(dim, 1e-5)
        self.head_drop = nn.Dropout(cfg.drop)
        self.head, self.aux_head = classifier(dim, cfg.num_classes), classifier(dim, cfg.num_classes)
        self.apply(init_linear)

    @classmethod
    def fit(cls, cfg: Config, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes and, from the positions, the (square) image's size."""
        fitted, table = super().fit(cfg, state_dict), state_dict.get("pos_embed")
        return fitted if table is None else fitted | {"img_size": table.shape[1] * PATCH}

    def forward_features(self, x: Tensor) -> Tensor:
        outlookers, patches, *stages = self.network
        x = patches(tap("stage1", outlookers(self.patch_embed(x)), "NHWC"))
        grid = Grid(1, x.shape[1], x.shape[2])
        x = x + resize_position_map(self.pos_embed.permute(0, 3, 1, 2), grid.shape).permute(0, 2, 3, 1)
        for i, stage in enumerate(stages, 2):
            x = tap(f"stage{i}", stage(x), "NHWC")
        x = tap("cam", x, "NHWC").flatten(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        for block in self.post_network:
            x = block(x, grid)
        return tap("patches", self.norm(x), "NLC", grid)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.head_drop(x)
        token = x[:, 0]
        if pre_logits or not self.num_classes:
            return token
        return self.head(token) + AUX * self.patch_logits(x)[:, 1:].amax(1)

    def patch_logits(self, tokens: Tensor) -> Tensor:
        """Read logits from each token. (B, N, dim) -> (B, N, num_classes)."""
        return self.aux_head(tokens)


D1 = Config((4, 4, 8, 2), 384, (6, 12))
D2 = Config((6, 4, 10, 4), 512, (8, 16))
D3 = Config((8, 8, 16, 4), 512, (8, 16))
D4 = Config((8, 8, 16, 4), 768, (12, 16))
D5 = Config((12, 12, 20, 4), 768, (12, 16), mlp_ratio=4, stem=128)

VARIANTS = {
    "volo_d1_224": D1,
    "volo_d1_384": replace(D1, img_size=384),
    "volo_d2_224": D2,
    "volo_d2_384": replace(D2, img_size=384),
    "volo_d3_224": D3,
    "volo_d3_448": replace(D3, img_size=448),
    "volo_d4_224": D4,
    "volo_d4_448": replace(D4, img_size=448),
    "volo_d5_224": D5,
    "volo_d5_448": replace(D5, img_size=448),
    "volo_d5_512": replace(D5, img_size=512),
}
register(VOLO, VARIANTS)
