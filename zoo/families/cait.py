"""CaiT: a deep ViT in two parts: patches read each other, then a class token reads the patches, which stay fixed.

    image -> patches of 16x16, a linear layer -> + positions -> blocks -> + class token -> class blocks -> norm -> fc
    block       -> norm -> talking-heads attention -> gamma -> + shortcut -> norm -> MLP -> gamma -> + shortcut
    class block -> the same for the class token alone, which reads itself and all patches

Layer scale makes depth trainable: gamma, a learned factor a channel that starts near zero. Touvron et al. 2021, "Going
deeper with Image Transformers", arXiv:2103.17239. Talking heads: Shazeer et al. 2020, arXiv:2003.02436.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo import base
from zoo.base import Backbone
from zoo.layers.class_attention import ClassAttention
from zoo.layers.drop import DropPath
from zoo.layers.embed import PatchEmbed, position_table, resize_positions
from zoo.layers.head import classifier
from zoo.layers.init import init_linear
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm
from zoo.layers.talking_heads import TalkingHeadsAttention
from zoo.probe import Grid, tap
from zoo.registry import register

CLASS_DEPTH = 2  # class blocks
MLP_RATIO = 4  # hidden width of an MLP over dim


@dataclass(frozen=True, kw_only=True)
class Config(base.Config):
    """What tells one CaiT from another."""

    dim: int  # channels of a token
    depth: int  # blocks
    num_heads: int  # of attention
    patch: int = 16  # side of a patch, pixels
    img_size: int = 224  # side of the image that the position table was learned on, pixels
    layer_scale: float = 1e-5  # initial gamma


class Block(nn.Module):
    """(B, N, C) -> (B, N, C)."""

    attention: ClassVar[type[nn.Module]] = TalkingHeadsAttention

    def __init__(self, drop_path: float, cfg: Config):
        super().__init__()
        self.norm1 = LayerNorm(cfg.dim)
        self.attn = self.attention(cfg.dim, cfg.num_heads)
        self.norm2 = LayerNorm(cfg.dim)
        self.mlp = Mlp(cfg.dim, MLP_RATIO * cfg.dim)
        self.gamma_1 = nn.Parameter(torch.full((cfg.dim,), cfg.layer_scale))
        self.gamma_2 = nn.Parameter(torch.full((cfg.dim,), cfg.layer_scale))
        self.drop_path = DropPath(drop_path)

    def update(self, x: Tensor, y: Tensor) -> Tensor:
        """Add the attention's output y to x, then the MLP's. (B, N, C) each."""
        x = torch.addcmul(x, self.drop_path(y), self.gamma_1)
        return torch.addcmul(x, self.drop_path(self.mlp(self.norm2(x))), self.gamma_2)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return self.update(x, self.attn(self.norm1(x), grid))


class ClassBlock(Block):
    """(B, 1 + N, C) -> (B, 1 + N, C), in which only the first token changes."""

    attention = ClassAttention

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        token = self.update(x[:, :1], self.attn(self.norm1(x), grid))
        return torch.cat([token, x[:, 1:]], 1)


class CaiT(Backbone):
    """Image (B, 3, H, W) -> tokens (B, 1 + N, dim) -> logits (B, num_classes).

    Any H and W that the patch divides: the position table is resized to the grid.
    """

    readout = "token"
    classifier_key = "head"

    def __init__(self, cfg: Config):
        super().__init__()
        self.num_features, self.num_classes, self.img_size = cfg.dim, cfg.num_classes, cfg.img_size
        side = cfg.img_size // cfg.patch
        self.table_grid = side, side
        self.patch_embed = PatchEmbed(cfg.patch, cfg.dim)
        self.pos_embed = position_table(side * side, cfg.dim)
        # The rate is the same in all blocks, as in the paper.
        self.blocks = nn.Sequential(*(Block(cfg.drop_path, cfg) for _ in range(cfg.depth)))
        self.cls_token = position_table(1, cfg.dim)
        self.blocks_token_only = nn.ModuleList(ClassBlock(0.0, cfg) for _ in range(CLASS_DEPTH))
        self.norm = LayerNorm(cfg.dim)
        self.head_drop = nn.Dropout(cfg.drop)
        self.head = classifier(cfg.dim, cfg.num_classes)
        self.apply(init_linear)

    @classmethod
    def fit(cls, cfg: Config, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes and, from the position table, the (square) image's size."""
        fitted, table = super().fit(cfg, state_dict), state_dict.get("pos_embed")
        return fitted if table is None else fitted | {"img_size": round(table.shape[1] ** 0.5) * cfg.patch}

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        grid = Grid(0, *x.shape[2:])
        x = x.flatten(2).transpose(1, 2) + resize_positions(self.pos_embed, self.table_grid, grid.shape)
        for i, block in enumerate(self.blocks, 1):
            x = tap(f"stage{i}", block(x, grid), "NLC", grid)
        return self.norm(self.ask(tap("cam", x, "NLC", grid), grid))

    def ask(self, x: Tensor, grid: Grid) -> Tensor:
        """Let the class token read the patches. (B, N, dim) -> tokens (B, 1 + N, dim)."""
        x, grid = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1), grid._replace(prefix=1)
        for i, block in enumerate(self.blocks_token_only, 1 + len(self.blocks)):
            x = tap(f"stage{i}", block(x, grid), "NLC", grid)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.head_drop(x[:, 0])
        return x if pre_logits else self.head(x)

    def read(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Read logits from the tokens after any block; patches alone go through the class blocks first."""
        return self.forward_head(self.norm(tokens if grid.prefix else self.ask(tokens, grid)))


XXS24 = Config(dim=192, depth=24, num_heads=4)
XXS36 = replace(XXS24, depth=36)
S24 = Config(dim=384, depth=24, num_heads=8)
M36 = Config(dim=768, depth=36, num_heads=16, img_size=384, layer_scale=1e-6)

VARIANTS = {
    "cait_xxs24_224": XXS24,
    "cait_xxs24_384": replace(XXS24, img_size=384),
    "cait_xxs36_224": XXS36,
    "cait_xxs36_384": replace(XXS36, img_size=384),
    "cait_xs24_384": Config(dim=288, depth=24, num_heads=6, img_size=384),
    "cait_s24_224": S24,
    "cait_s24_384": replace(S24, img_size=384),
    "cait_s36_384": replace(S24, depth=36, img_size=384, layer_scale=1e-6),
    "cait_m36_384": M36,
    "cait_m48_448": replace(M36, depth=48, img_size=448),
    "cait_cifar": Config(dim=128, depth=5, num_heads=4, patch=4, img_size=32, layer_scale=0.1, num_classes=10),
}
register(CaiT, VARIANTS)
