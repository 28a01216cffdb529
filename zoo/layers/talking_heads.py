"""Talking-heads attention: the heads mix before the softmax and again after it (Shazeer et al. 2020).

"Talking-Heads Attention", arXiv:2003.02436.
"""

from functools import partial

import torch
from torch import Tensor, nn

from zoo.probe import Geometry, Grid, attention


class TalkingHeadsAttention(nn.Module):
    """Every token reads every token, by mixed scores and then by mixed weights. (B, N, C) -> (B, N, C).

    A token's weights may be negative and need not sum to 1.
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj_l = nn.Linear(num_heads, num_heads)
        self.proj_w = nn.Linear(num_heads, num_heads)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (B, h, N, d) each
        pre, post = partial(mix, self.proj_l), partial(mix, self.proj_w)
        x = attention(q, k, v, layer=self, geometry=lambda: Geometry.dense(grid), mix_pre=pre, mix_post=post)
        return self.proj(x.transpose(1, 2).flatten(2))


def mix(heads: nn.Linear | nn.Conv2d, x: Tensor) -> Tensor:
    """Each head becomes a weighted sum of all, and a constant. (B, h, Q, K) -> (B, h, Q, K)."""
    # Heads stay where they are: moving them to the last axis and back would copy all of x twice.
    assert heads.bias is not None
    weight = heads.weight.flatten(1).expand(len(x), -1, -1)
    return torch.baddbmm(heads.bias[:, None], weight, x.flatten(2)).view_as(x)
