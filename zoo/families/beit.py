"""BEiT: a plain ViT that learns as BERT does, by predicting the visual words of hidden patches.

    image -> patches -> + class token -> blocks -> mean of the patches -> norm -> fc
    block -> norm -> attention, biased by offset -> + shortcut -> norm -> MLP -> + shortcut

Tokens get no positions: each head of each block learns a bias for every offset between two patches. Keys have no bias,
and branches start small. Bao et al. 2021, "BEiT: BERT Pre-Training of Image Transformers", arXiv:2106.08254.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from zoo.families import eva, vit
from zoo.families.eva import Config, Eva
from zoo.families.vit import Tokens
from zoo.layers.adapt import Layout
from zoo.layers.relative_position import offsets, relative_bias, table_side
from zoo.probe import Grid
from zoo.registry import register


class Attention(eva.Attention):
    """Every token reads every token, biased by their offset. (B, N, C) -> (B, N, C)."""

    def __init__(self, index: int, cfg: Config):
        super().__init__(index, cfg)
        self.side = cfg.img_size // cfg.patch
        rows = (2 * self.side - 1) ** 2 + 3  # the last three are the class token's
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, cfg.num_heads))

    def bias(self, grid: Grid) -> Tensor:
        """What is added to the scores. -> (1, h, N, N)."""
        table = self.relative_position_bias_table
        index = offsets(*grid.shape, table.device, class_token=True)
        return relative_bias(table, self.side, grid.shape, index)[None]


class Beit(Eva):
    """Image (B, 3, H, W) -> tokens (B, N, dim) -> logits (B, num_classes).

    Any H and W that the patch divides: the tables are resized to the grid.
    """

    # The indices into the tables follow from the image's size.
    layouts = (*Eva.layouts, Layout(unused=r"relative_position_index$"))

    @classmethod
    def fit(cls, cfg: vit.Config, state_dict: dict[str, Tensor]) -> dict[str, Any]:
        """Read the number of classes and, from the first block's table, the (square) image's size."""
        fitted = super().fit(cfg, state_dict)
        table = state_dict.get("blocks.0.attn.relative_position_bias_table")
        return fitted if table is None else fitted | {"img_size": table_side(table, class_token=True) * cfg.patch}


BASE = Config(layer_scale=0.1, tokens=Tokens(places=None), readout="mean_norm", attention=Attention)
LARGE = replace(BASE, dim=1024, depth=24, num_heads=16, layer_scale=1e-5)

VARIANTS = {
    "beit_base_patch16_224": BASE,
    "beit_base_patch16_384": replace(BASE, img_size=384),
    "beit_large_patch16_224": LARGE,
    "beit_large_patch16_384": replace(LARGE, img_size=384),
    "beit_large_patch16_512": replace(LARGE, img_size=512),
}
register(Beit, VARIANTS)
