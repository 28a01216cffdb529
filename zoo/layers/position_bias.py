"""Modules that give relative position biases to the heads of an attention among the tokens of a rectangle.

TableBias      a learned table, resized to the rectangle as in zoo/layers/relative_position.py
TfTableBias    the same, stored as TensorFlow does: heads first, and the offset from query to key
NetBias        a small net reads them off the logarithm of the offset: equation 4 of Swin V2 (arXiv:2111.09883)
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from zoo.layers.relative_position import by_pair, log_offsets, offsets, relative_bias


class TableBias(nn.Module):
    """What is added to the scores (B, h, N, N) of a rectangle's tokens. -> (h, N, N).

    `side`: of the square that the table is for.
    """

    def __init__(self, side: int, num_heads: int):
        super().__init__()
        self.side = side
        table = torch.empty((2 * side - 1) ** 2, num_heads)
        self.relative_position_bias_table = nn.Parameter(nn.init.trunc_normal_(table, std=0.02))

    def forward(self, size: tuple[int, int]) -> Tensor:
        table = self.relative_position_bias_table
        return relative_bias(table, self.side, size, offsets(*size, table.device))


class TfTableBias(nn.Module):
    """What is added to the scores (B, h, N, N), as above. -> (h, N, N)."""

    def __init__(self, side: int, num_heads: int):
        super().__init__()
        self.side = side
        table = torch.empty(num_heads, 2 * side - 1, 2 * side - 1)
        self.relative_position_bias_table = nn.Parameter(nn.init.normal_(table, std=0.02))

    def forward(self, size: tuple[int, int]) -> Tensor:
        table = self.relative_position_bias_table.flatten(1).flip(1).T
        return relative_bias(table, self.side, size, offsets(*size, table.device))


class NetBias(nn.Module):
    """What is added to the scores (B, h, N, N). -> (h, N, N). The net serves any rectangle, so `side` is not used."""

    def __init__(self, side: int, num_heads: int, hidden: int = 512):
        super().__init__()
        layers = {"fc1": nn.Linear(2, hidden), "act": nn.ReLU(), "fc2": nn.Linear(hidden, num_heads)}
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, size: tuple[int, int]) -> Tensor:
        weight = next(self.mlp.parameters())
        table = self.mlp(log_offsets(*size).to(weight)).flatten(0, 1)
        return by_pair(table, offsets(*size, weight.device))
