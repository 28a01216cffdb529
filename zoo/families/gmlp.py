"""gMLP: one MLP a block, whose hidden channels are gated: one half by the other half, mixed along the patches.

    image -> 16x16 patches -> blocks -> norm -> mean -> fc
    block -> norm -> linear, GELU -> gate -> linear -> + shortcut
    gate  -> one half of the channels times a linear layer along the tokens of the other half, normed

Liu et al. 2021, "Pay Attention to MLPs", arXiv:2105.08050. The model is MLP-Mixer's; it takes one image size, too.
"""

from collections import OrderedDict

from torch import Tensor, nn

from zoo.families.mlp_mixer import MlpMixer, SizeConfig
from zoo.layers.drop import DropPath
from zoo.layers.init import init_glorot
from zoo.layers.norm import LayerNorm
from zoo.registry import register

MLP_RATIO = 6  # channels before the gate, over dim


class Gate(nn.Module):
    """One half of the channels times the other, normed and mixed along the tokens. (B, N, C) -> (B, N, C/2)."""

    def __init__(self, tokens: int, dim: int):
        super().__init__()
        self.norm, self.proj = LayerNorm(dim // 2, eps=1e-5), nn.Linear(tokens, tokens)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = x.chunk(2, 2)
        return x * self.proj(self.norm(gate).transpose(1, 2)).transpose(1, 2)


class Block(nn.Module):
    """(B, N, C) -> (B, N, C)."""

    def __init__(self, tokens: int, cfg: SizeConfig):
        super().__init__()
        hidden = MLP_RATIO * cfg.dim
        self.norm = LayerNorm(cfg.dim)
        self.mlp_channels = nn.Sequential(
            OrderedDict(
                fc1=nn.Linear(cfg.dim, hidden),
                act=nn.GELU(),
                gate=Gate(tokens, hidden),
                fc2=nn.Linear(hidden // 2, cfg.dim),
            )
        )
        self.drop_path = DropPath(cfg.drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.mlp_channels(self.norm(x)))


def draw(module: nn.Module) -> None:
    """Let gates begin as ones."""
    init_glorot(module)
    if isinstance(module, Gate):  # its layers were drawn before
        nn.init.normal_(module.proj.weight, std=1e-6)
        nn.init.ones_(module.proj.bias)


class GMlp(MlpMixer):
    """Image (B, 3, img_size, img_size) -> features (B, N, dim) -> logits (B, num_classes)."""

    no_attention = "it mixes positions inside gates, by linear layers whose weights are the same for every image"
    block, draw, along_tokens = Block, staticmethod(draw), "mlp_channels.gate.proj"


VARIANTS = {
    "gmlp_ti16_224": SizeConfig(patch=16, depth=30, dim=128),
    "gmlp_s16_224": SizeConfig(patch=16, depth=30, dim=256),
    "gmlp_b16_224": SizeConfig(patch=16, depth=30, dim=512),
}
register(GMlp, VARIANTS)
