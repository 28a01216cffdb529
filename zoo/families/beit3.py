"""BEiT-3: one transformer for pictures, texts and pairs; this is the half that reads pictures.

All share the attention, each kind of input has an MLP of its own, and what is hidden in any of them is to be filled in.
For so large a model norms keep the signal in bounds inside attention and MLP, before the last linear layer of each.
Wang et al. 2022, "Image as a Foreign Language: BEiT Pretraining for All Vision and Vision-Language Tasks",
arXiv:2208.10442; the norms: "Foundation Transformers" (Magneto), Wang et al. 2022, arXiv:2210.06423.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from zoo.families.eva import Config, Eva
from zoo.layers.mlp import Mlp
from zoo.layers.norm import LayerNorm
from zoo.registry import register

RENAMED = (
    (".A.", "."),
    ("beit3.", ""),
    ("encoder.", ""),
    ("vision_embed.cls_token", "cls_token"),
    ("vision_embed.", "patch_embed."),
    ("embed_positions.weight", "pos_embed"),
    ("layers.", "blocks."),
    ("self_attn_layer_norm.", "norm1."),
    ("final_layer_norm.", "norm2."),
    ("self_attn.", "attn."),
    ("inner_attn_ln.", "norm."),
    ("out_proj.", "proj."),
    ("ffn_layernorm.", "norm."),
    ("ffn.", "mlp."),
)
UNUSED = "text_embed.", "vision_embed.mask_token"
NORM = partial(LayerNorm, eps=1e-5)


class NormedMlp(Mlp):
    """fc1 -> act -> norm -> fc2 on the last axis."""

    def __init__(self, dim: int, hidden: int):
        super().__init__(dim, hidden)
        self.norm = NORM(hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.norm(self.act(self.fc1(x))))


class Beit3(Eva):
    """The model, which also reads the original files."""

    @classmethod
    def adapt(cls, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rename microsoft/unilm's keys; of each pair of layers A is the pictures', B the texts'."""
        if not any(key.startswith("beit3.") for key in state_dict):
            return super().adapt(state_dict)
        state = {}
        for key, value in state_dict.items():
            if ".B." in key or key.startswith(tuple(f"beit3.{part}" for part in UNUSED)):
                continue
            for old, new in RENAMED:
                key = key.replace(old, new)
            state[key] = value[None, 2:] if key == "pos_embed" else value  # two rows that no token ever stands on
        for key in [key for key in state if ".q_proj." in key]:
            parts = [state.pop(key.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"]
            state[key.replace(".q_proj.", ".qkv.")] = torch.cat(parts)
        return state


BASE = Config(k_bias=True, attn_norm=True, pool="mean", head_norm=True, norm=NORM, mlp=NormedMlp)
LARGE = replace(BASE, dim=1024, depth=24, num_heads=16)
GIANT = replace(BASE, dim=1408, depth=40, num_heads=16, mlp_ratio=48 / 11, patch=14)

VARIANTS = {
    "beit3_base_patch16_224": BASE,
    "beit3_giant_patch14_224": GIANT,
    "beit3_giant_patch14_336": replace(GIANT, img_size=336),
    "beit3_large_patch16_224": LARGE,
}
register(Beit3, VARIANTS)
