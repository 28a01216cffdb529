"""DeiT: ViT trained on ImageNet alone, by learning from a convolutional teacher.

The distilled rows have a second token with its own head, which learned to repeat the teacher; the logits are the mean
of both heads. Touvron et al. 2020, "Training data-efficient image transformers and distillation through
attention", arXiv:2012.12877. DeiT-III, with a better recipe, layer scale, and no position for the class token: Touvron
et al. 2022, "DeiT III: Revenge of the ViT", arXiv:2204.07118.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from zoo.families.vit import BASE, HUGE, LARGE, SMALL, TINY, Config, Tokens, ViT
from zoo.layers.head import classifier
from zoo.probe import Grid
from zoo.registry import register


class DistilledViT(ViT):
    """ViT with a distillation token after the class token; the logits are the mean of both heads."""

    read_tokens = 2

    def __init__(self, cfg: Config):
        super().__init__(cfg)
        self.dist_token = nn.Parameter(torch.zeros(1, 1, cfg.dim))
        self.head_dist = classifier(cfg.dim, cfg.num_classes)

    @classmethod
    def count_prefix(cls, cfg: Config) -> int:
        return super().count_prefix(cfg) + 1

    def prefix_tokens(self) -> list[Tensor]:
        return [*super().prefix_tokens(), self.dist_token]

    def forward_head(self, x: Tensor, pre_logits: bool = False, grid: Grid | None = None) -> Tensor:
        x, distilled = self.head_drop(x[:, 0]), self.head_drop(x[:, 1])
        if not pre_logits:
            x, distilled = self.head(x), self.head_dist(distilled)
        return (x + distilled) / 2


MEDIUM = Config(dim=512, num_heads=8)
III = dict(tokens=Tokens(places="patches"), layer_scale=1e-6)

DISTILLED = {
    "deit_tiny_distilled_patch16_224": TINY,
    "deit_small_distilled_patch16_224": SMALL,
    "deit_base_distilled_patch16_224": BASE,
    "deit_base_distilled_patch16_384": replace(BASE, img_size=384),
}
PLAIN = {
    "deit_tiny_patch16_224": TINY,
    "deit_small_patch16_224": SMALL,
    "deit_base_patch16_224": BASE,
    "deit_base_patch16_384": replace(BASE, img_size=384),
    "deit3_small_patch16_224": replace(SMALL, **III),
    "deit3_small_patch16_384": replace(SMALL, img_size=384, **III),
    "deit3_medium_patch16_224": replace(MEDIUM, **III),
    "deit3_base_patch16_224": replace(BASE, **III),
    "deit3_base_patch16_384": replace(BASE, img_size=384, **III),
    "deit3_large_patch16_224": replace(LARGE, **III),
    "deit3_large_patch16_384": replace(LARGE, img_size=384, **III),
    "deit3_huge_patch14_224": replace(HUGE, **III),
}
VARIANTS = DISTILLED | PLAIN
register(DistilledViT, DISTILLED)
register(ViT, PLAIN)
