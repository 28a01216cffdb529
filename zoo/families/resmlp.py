"""ResMLP: one linear layer along the patches, a two-layer MLP along the channels, and learned factors, no norms.

    image -> 16x16 patches -> blocks -> affine -> mean -> fc
    block -> affine -> linear layer along the tokens -> times gamma -> + shortcut
          -> affine -> MLP along the channels -> times gamma -> + shortcut

Touvron et al. 2021, "ResMLP: Feedforward networks for image classification with data-efficient training",
arXiv:2105.03404. The model is MLP-Mixer's; it takes one image size, too.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.families.mlp_mixer import MlpMixer, SizeConfig
from zoo.layers.drop import DropPath
from zoo.layers.mlp import Mlp
from zoo.registry import register


@dataclass(frozen=True, kw_only=True)
class Config(SizeConfig):
    """What tells one ResMLP from another."""

    gamma: float  # initial factor of a branch's channels


class Affine(nn.Module):
    """alpha * x + beta, for each channel. (B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int):
        super().__init__()
        self.alpha, self.beta = nn.Parameter(torch.ones(1, 1, dim)), nn.Parameter(torch.zeros(1, 1, dim))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.beta, self.alpha, x)


def gamma(cfg: Config) -> nn.Parameter:
    """Draw the factors of a branch's channels. (dim,)."""
    return nn.Parameter(torch.full((cfg.dim,), cfg.gamma))


class Block(nn.Module):
    """(B, N, C) -> (B, N, C)."""

    def __init__(self, tokens: int, cfg: Config):
        super().__init__()
        self.norm1, self.linear_tokens, self.ls1 = Affine(cfg.dim), nn.Linear(tokens, tokens), gamma(cfg)
        self.norm2, self.mlp_channels, self.ls2 = Affine(cfg.dim), Mlp(cfg.dim, 4 * cfg.dim), gamma(cfg)
        self.drop_path = DropPath(cfg.drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        x = torch.addcmul(x, self.drop_path(y), self.ls1)
        return torch.addcmul(x, self.drop_path(self.mlp_channels(self.norm2(x))), self.ls2)


class ResMlp(MlpMixer):
    """Image (B, 3, img_size, img_size) -> features (B, N, dim) -> logits (B, num_classes)."""

    no_attention = "it mixes positions by linear layers whose weights are the same for every image"
    block, last_norm, along_tokens = Block, Affine, "linear_tokens"


VARIANTS = {
    "resmlp_12_224": Config(patch=16, depth=12, dim=384, gamma=1e-4),
    "resmlp_24_224": Config(patch=16, depth=24, dim=384, gamma=1e-5),
    "resmlp_36_224": Config(patch=16, depth=36, dim=384, gamma=1e-6),
    "resmlp_big_24_224": Config(patch=8, depth=24, dim=768, gamma=1e-6),
}
register(ResMlp, VARIANTS)
