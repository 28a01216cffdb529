"""BEiT-3: one transformer for images, texts and pairs; this is the part that reads images.

All inputs share the attention, each kind has an MLP of its own, and the model learns to predict hidden parts of each.
Norms before the last linear layer of attention and MLP keep the signal of so large a model in bounds.
Wang et al. 2022, "Image as a Foreign Language: BEiT Pretraining for All Vision and Vision-Language Tasks",
arXiv:2208.10442; the norms: "Foundation Transformers" (Magneto), Wang et al. 2022, arXiv:2210.06423.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from zoo.families.eva import Attention, Config, Eva
from zoo.layers.adapt import Layout
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm
from zoo.registry import register

NORM = partial(LayerNorm, eps=1e-5)
# microsoft/unilm's files: of each pair of layers A is for images, B for texts.
UNILM = Layout(
    marker=r"^beit3\.",
    unused=r"\.B\.|^beit3\.text_embed\.|^beit3\.vision_embed\.mask_token$",
    renamed=(
        (r"\.A\.", "."),
        (r"^beit3\.(encoder\.)?", ""),
        (r"^vision_embed\.cls_token", "cls_token"),
        (r"^vision_embed\.", "patch_embed."),
        (r"^embed_positions\.weight", "pos_embed"),
        (r"^layers\.", "blocks."),
        (r"self_attn_layer_norm\.", "norm1."),
        (r"final_layer_norm\.", "norm2."),
        (r"self_attn\.", "attn."),
        (r"inner_attn_ln\.", "norm."),
        (r"out_proj\.", "proj."),
        (r"ffn_layernorm\.", "norm."),
        (r"ffn\.", "mlp."),
    ),
    reshaped={"pos_embed": lambda table: table[None, 2:]},  # the first two rows are never used
)


class NormedMlp(Mlp):
    """fc1 -> act -> norm -> fc2 on the last axis. (..., C) -> (..., C)."""

    def __init__(self, dim: int, hidden: int):
        super().__init__(dim, hidden)
        self.norm = NORM(hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.norm(self.act(self.fc1(x))))


class Beit3(Eva):
    """An EVA that also reads the original files."""

    layouts = (*Eva.layouts, UNILM)

    @classmethod
    def adapt(cls, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Read microsoft/unilm's files too, which have one matrix each for queries, keys and values."""
        state = super().adapt(state_dict)
        for key in [key for key in state if ".q_proj." in key]:
            parts = [state.pop(key.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"]
            state[key.replace(".q_proj.", ".qkv.")] = torch.cat(parts)
        return state


BASE = Config(attention=partial(Attention, biased="qkv", normed=True), readout="mean_norm", norm=NORM, mlp=NormedMlp)
LARGE = replace(BASE, dim=1024, depth=24, num_heads=16)
GIANT = replace(BASE, dim=1408, depth=40, num_heads=16, mlp_ratio=48 / 11, patch=14)

VARIANTS = {
    "beit3_base_patch16_224": BASE,
    "beit3_giant_patch14_224": GIANT,
    "beit3_giant_patch14_336": replace(GIANT, img_size=336),
    "beit3_large_patch16_224": LARGE,
}
register(Beit3, VARIANTS)
