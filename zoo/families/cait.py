"""CaiT: a deep ViT in two parts: patches read each other, then a class token reads them, and they no longer change.

    image -> patches of 16x16, a linear layer -> + places -> blocks -> + class token -> class blocks -> norm -> fc
    block       -> norm -> talking-heads attention -> gamma -> + shortcut -> norm -> MLP -> gamma -> + shortcut
    class block -> the same for the class token alone, which reads itself and all patches

What makes depth trainable is gamma, a learned factor a channel that starts near nothing: layer scale. Touvron et al.
2021, "Going deeper with Image Transformers", arXiv:2103.17239. Talking heads: Shazeer et al. 2020, arXiv:2003.02436.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from zoo.families import vit
from zoo.families.vit import ViT
from zoo.layers.class_attention import ClassAttention
from zoo.layers.drop import DropPath
from zoo.layers.talking_heads import TalkingHeadsAttention
from zoo.probe import Grid, tap
from zoo.registry import register


class Block(nn.Module):
    """(B, N, C) -> (B, N, C)."""

    attention: ClassVar[type[nn.Module]] = TalkingHeadsAttention

    def __init__(self, index: int, drop_path: float, cfg: "Config"):
        super().__init__()
        self.norm1 = cfg.norm(cfg.dim)
        self.attn = self.attention(cfg.dim, cfg.num_heads, cfg.qkv_bias)
        self.norm2 = cfg.norm(cfg.dim)
        self.mlp = cfg.mlp(cfg.dim, int(cfg.dim * cfg.mlp_ratio))
        self.gamma_1 = nn.Parameter(cfg.layer_scale * torch.ones(cfg.dim))
        self.gamma_2 = nn.Parameter(cfg.layer_scale * torch.ones(cfg.dim))
        self.drop_path = DropPath(cfg.drop_path)  # the same in all blocks, as the paper has it

    def update(self, x: Tensor, y: Tensor) -> Tensor:
        """Add to x what it read, y, then what the MLP makes of it. (B, N, C) each."""
        x = torch.addcmul(x, self.drop_path(y), self.gamma_1)
        return torch.addcmul(x, self.drop_path(self.mlp(self.norm2(x))), self.gamma_2)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        return self.update(x, self.attn(self.norm1(x), grid))


class ClassBlock(Block):
    """(B, 1 + N, C) -> (B, 1 + N, C), of which the first token alone is new."""

    attention = ClassAttention

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        token = self.update(x[:, :1], self.attn(self.norm1(x), grid))
        return torch.cat([token, x[:, 1:]], 1)


@dataclass(frozen=True)
class Config(vit.Config):
    """What tells one CaiT from another: a ViT's, and this."""

    class_depth: int = 2  # class blocks
    layer_scale: float = 1e-5
    place_prefix: bool = False
    block: Callable[[int, float, Any], nn.Module] = Block  # of (index, drop_path, cfg)


class CaiT(ViT):
    """Image (B, 3, H, W) -> tokens (B, 1 + N, dim) -> logits (B, num_classes).

    Any H and W that the patch divides: the position table is resized to the grid.
    """

    def __init__(self, cfg: Config):
        super().__init__(cfg)
        quiet = replace(cfg, drop_path=0.0)
        self.blocks_token_only = nn.ModuleList(ClassBlock(i, 0.0, quiet) for i in range(cfg.class_depth))
        self.blocks_token_only.apply(vit.init_linear)
        nn.init.trunc_normal_(self.get_parameter("cls_token"), std=0.02)

    @classmethod
    def prefix_length(cls, cfg: vit.Config) -> int:
        """No token stands before the patches while they read each other."""
        return 0

    def prefix_tokens(self) -> list[Tensor]:
        return []

    def encode(self, x: Tensor) -> tuple[Tensor, Grid]:
        """(B, 3, H, W) -> tokens (B, 1 + N, dim) behind the last norm, and where they stand."""
        x, grid = self.embed(x)
        for i, block in enumerate(self.blocks, 1):
            x = tap(f"stage{i}", block(x, grid), "NLC", grid)
        x, grid = self.ask(tap("cam", x, "NLC", grid), grid)
        return self.norm(x), grid

    def ask(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        """Let the class token read the patches. (B, N, dim) -> tokens (B, 1 + N, dim), and where they stand."""
        (token,) = super().prefix_tokens()
        x, grid = torch.cat([token.expand(len(x), -1, -1), x], 1), grid._replace(prefix=1)
        for i, block in enumerate(self.blocks_token_only, 1 + len(self.blocks)):
            x = tap(f"stage{i}", block(x, grid), "NLC", grid)
        return x, grid

    def read(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Read logits from the tokens behind any block; where no class token is among them, it asks first."""
        return super().read(tokens if grid.prefix else self.ask(tokens, grid)[0], grid)


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
