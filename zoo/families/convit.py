"""ConViT: attention that may begin as a convolution, and a gate in each head by which it may give up being one.

    image -> patches of 16x16 -> + positions -> 10 gated blocks -> + class token -> 2 blocks of ViT -> norm -> fc
    gated block -> ViT's, with two attentions mixed: softmax of queries and keys, and softmax of offsets alone

d'Ascoli et al. 2021, "ConViT: Improving Vision Transformers with Soft Convolutional Inductive Biases",
arXiv:2103.10697. At the start each gated head looks at the patch that lies at an offset of its own.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.families.vit import Config, Tokens, ViT
from zoo.layers.attention import SelfAttention
from zoo.layers.embed import resize_positions
from zoo.layers.kept import kept
from zoo.probe import Geometry, Grid, attend, tap
from zoo.registry import register

PLAIN = 2  # blocks at the end, which have a class token and no gates
SHARPNESS = 1.0  # of a head's first attention around its offset


@kept(16)
def spread(height: int, width: int, device: torch.device) -> Tensor:
    """Columns and rows from each query to each key of a grid, and their squared distance. (1, N, N, 3)."""
    y = torch.arange(float(height), device=device).repeat_interleave(width)
    x = torch.arange(float(width), device=device).repeat(height)
    columns, rows = x - x[:, None], y - y[:, None]
    return torch.stack([columns, rows, columns**2 + rows**2], 2)[None]


class GatedAttention(nn.Module):
    """Every patch reads every patch, partly by content and partly by position (section 3). (B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qk = nn.Linear(dim, 2 * dim, bias=False)
        self.v = nn.Linear(dim, dim, bias=False)
        self.proj = nn.Linear(dim, dim)
        self.pos_proj = nn.Linear(3, num_heads)
        self.gating_param = nn.Parameter(torch.ones(num_heads))
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        q, k = self.qk(x).unflatten(2, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (B, h, N, d) each
        v = self.v(x).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        places = self.pos_proj(spread(*grid.shape, x.device).to(x.dtype)).permute(0, 3, 1, 2).softmax(-1)
        gate = self.gate(self.gating_param)[:, None, None]

        def weights() -> Tensor:
            return torch.lerp((q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(-1), places, gate)

        def fast() -> Tensor:
            return torch.lerp(F.scaled_dot_product_attention(q, k, v), places @ v, gate)

        y = attend(weights, v, layer=self, geometry=lambda: Geometry.dense(grid), fast=fast)
        return self.proj(y.transpose(1, 2).flatten(2))

    @torch.no_grad()
    def become_convolution(self) -> None:
        """Let each head look at the patch of its own offset, on a square of offsets around the query."""
        nn.init.eye_(self.v.weight)
        side = int(self.num_heads**0.5)
        centre = side // 2 if side % 2 else (side - 1) / 2
        offsets = [(2 * (i // side - centre), 2 * (i % side - centre), -1.0) for i in range(side * side)]
        self.pos_proj.weight[: side * side] = SHARPNESS * torch.tensor(offsets, device="cpu").to(self.v.weight)


def gated_then_plain(index: int, cfg: Config) -> nn.Module:
    """Make the attention of a block."""
    if index < cfg.depth - PLAIN:
        return GatedAttention(cfg.dim, cfg.num_heads)
    return SelfAttention(cfg.dim, cfg.num_heads, qkv_bias=False)


class ConViT(ViT):
    """ViT whose class token enters before the last blocks. (B, 3, H, W) -> logits (B, num_classes)."""

    def __init__(self, cfg: Config):
        super().__init__(cfg)
        self.apply(_init)
        for token in self.prefix_tokens():
            nn.init.trunc_normal_(token, std=0.02)

    def encode(self, x: Tensor) -> tuple[Tensor, Grid]:
        assert self.pos_embed is not None
        x = self.patch_embed(x)
        grid = Grid(0, *x.shape[2:])
        x = x.flatten(2).transpose(1, 2) + resize_positions(self.pos_embed, self.table_grid, grid.shape)
        for i in range(len(self.blocks) - PLAIN):
            x = tap(f"stage{i + 1}", self.blocks[i](x, grid), "NLC", grid)
        return self.ask(x, grid)

    def ask(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        """Let the class token read the patches. (B, N, dim) -> tokens (B, 1 + N, dim) after the last norm."""
        token = self.prefix_tokens()[0].expand(len(x), -1, -1)
        x, grid = torch.cat([token, x], 1), grid._replace(prefix=1)
        for i in range(len(self.blocks) - PLAIN, len(self.blocks)):
            x = self.blocks[i](x, grid, last=i + 1 == len(self.blocks))
            x = tap(f"stage{i + 1}", x, "NLC", grid)
        return self.norm(x), grid

    def read(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Read logits from the tokens after any block; patches alone go through the last blocks first."""
        return self.forward_head(self.norm(tokens) if grid.prefix else self.ask(tokens, grid)[0])


def _init(module: nn.Module) -> None:
    if isinstance(module, GatedAttention) and not module.v.weight.is_meta:  # there it would import PyTorch's compiler
        module.become_convolution()


BASE = Config(dim=768, num_heads=16, attention=gated_then_plain, tokens=Tokens(places="patches"))

VARIANTS = {
    "convit_tiny": replace(BASE, dim=192, num_heads=4),
    "convit_small": replace(BASE, dim=432, num_heads=9),
    "convit_base": BASE,
}
register(ConViT, VARIANTS)
