"""DeepSeek ViT: the image encoder of DeepSeek's models of images and text, which knows places by rotation alone.

    image -> patches of 14x14 -> blocks -> norm -> (each 3x3 tokens merged by an MLP) -> mean -> norm -> fc
    block -> norm -> attention, queries and keys rotated by row and column -> + shortcut -> norm -> SwiGLU -> + shortcut

All norms divide by the root mean square. DeepSeek-AI 2026, "DeepSeek-V4.1-Flash: Pushing the Limits of KV Cache
Compression", arXiv:2609.19969. The align and enc rows keep the MLP that makes tokens for the language model; an enc
row, which has no classes, gives these tokens.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.families.qwen3_vit import Classifier, Config, Tower, blocks
from zoo.layers.embed import PatchEmbed, patchify
from zoo.layers.init import init_linear
from zoo.layers.mlp import GluMlp
from zoo.layers.norm import PlainRmsNorm, RmsNorm
from zoo.probe import Grid
from zoo.registry import register

PATCH, MERGED = 14, 3  # side of a patch in pixels, of what becomes one token in patches


class Aligner(nn.Module):
    """3x3 tokens side by side, each channel's together -> MLP. (B, N, dim) -> (B, N/9, out), grid sides rounded up."""

    def __init__(self, dim: int, out: int):
        super().__init__()
        self.fc1 = nn.Linear(MERGED**2 * dim, out)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(out, out)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        dim, (height, width) = x.shape[2], grid.shape
        x = F.pad(x.transpose(1, 2).unflatten(2, grid.shape), (0, -width % MERGED, 0, -height % MERGED))
        x = patchify(x, MERGED).unflatten(2, (-1, dim)).transpose(2, 3).flatten(2)
        return self.fc2(self.act(self.fc1(x)))


class DeepSeekEncoder(Tower):
    """Image (B, 3, H, W) -> tokens (B, N, num_features) -> logits (B, num_classes); without classes, the tokens.

    Any H and W that 14 divides.
    """

    smallest = PATCH

    def __init__(self, cfg: Config, inner: bool = False):
        super().__init__(cfg.projected or cfg.dim, cfg.dim // cfg.num_heads, cfg, inner)
        self.patch_embed = PatchEmbed(PATCH, cfg.dim)
        self.blocks = blocks(cfg, norm=RmsNorm, mlp=partial(GluMlp, gate_first=True, bias=False))
        self.norm = RmsNorm(cfg.dim)
        self.aligner = Aligner(cfg.dim, cfg.projected) if cfg.projected else None
        self.apply(init_linear)

    @classmethod
    def fit(cls, cfg: Config, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes and the width of the language model."""
        fitted, last = super().fit(cfg, state_dict), state_dict.get("aligner.fc2.weight")
        return fitted if last is None else fitted | {"projected": len(last)}

    def embed(self, x: Tensor) -> tuple[Tensor, Grid]:
        x = self.patch_embed(x)
        return x.flatten(2).transpose(1, 2), Grid(0, *x.shape[2:])

    def project(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        x = self.norm(x)
        if self.aligner is None:
            return x, grid
        return self.aligner(x, grid), Grid(0, -(-grid.height // MERGED), -(-grid.width // MERGED))


class DeepSeekViT(Classifier):
    """Image (B, 3, H, W) -> tokens (B, N, num_features) -> mean -> norm -> logits (B, num_classes)."""

    tower = DeepSeekEncoder

    def __init__(self, cfg: Config):
        super().__init__(cfg, PlainRmsNorm())


BASE = Config(dim=1024, depth=32, num_heads=16, mlp_ratio=5.5, img_size=None)  # both halves of the MLP, 2.75 each

CLASSIFIERS = {
    "deepseek_vit_412m": BASE,
    "deepseek_vit_412m_align": replace(BASE, projected=5120),
}
ENCODERS = {"deepseek_vit_412m_enc": replace(BASE, projected=5120)}
VARIANTS = CLASSIFIERS | ENCODERS
register(DeepSeekViT, CLASSIFIERS)
register(DeepSeekEncoder, ENCODERS)
