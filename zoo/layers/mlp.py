"""The two-layer perceptron of a block, and ConvNeXt V2's response norm inside it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class GlobalResponseNorm(nn.Module):
    """Let channels compete: scale each by its share of the energy over the grid (Woo et al. 2023).

    (B, H, W, C) -> (B, H, W, C), or (B, C, H, W) -> (B, C, H, W) if not channels_last.
    """

    def __init__(self, dim: int, channels_last: bool = True, eps: float = 1e-6):
        super().__init__()
        self.eps, self.channel = eps, -1 if channels_last else 1
        self.grid, self.shape = ((1, 2), (-1,)) if channels_last else ((2, 3), (-1, 1, 1))
        self.weight = nn.Parameter(torch.zeros(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        energy = x.norm(dim=self.grid, keepdim=True)
        share = energy / (energy.mean(self.channel, keepdim=True) + self.eps)
        # One pass over x; x + weight * x * share + bias would be four.
        return torch.addcmul(self.bias.view(self.shape), x, 1 + self.weight.view(self.shape) * share)


class Mlp(nn.Module):
    """fc1 -> act -> (grn) -> fc2 on the channels. (..., C) -> (..., C), or (B, C, H, W) -> (B, C, H, W) if `conv`."""

    def __init__(
        self, dim: int, hidden: int, act: Callable[[], nn.Module] = nn.GELU, conv: bool = False, grn: bool = False
    ):
        super().__init__()
        linear = (lambda i, o: nn.Conv2d(i, o, 1)) if conv else nn.Linear
        self.fc1 = linear(dim, hidden)
        self.act = act()
        self.grn = GlobalResponseNorm(hidden, channels_last=not conv) if grn else nn.Identity()
        self.fc2 = linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.grn(self.act(self.fc1(x))))


class GluMlp(nn.Module):
    """fc1 -> one half times act of the other -> fc2; SwiGLU by default (Shazeer 2020). (..., C) -> (..., C).

    arXiv:2002.05202. `hidden` is the width of fc1, both halves together; the gate is the second half or the first.
    """

    def __init__(
        self, dim: int, hidden: int, act: Callable[[], nn.Module] = nn.SiLU, gate_first: bool = False, bias: bool = True
    ):
        super().__init__()
        self.gate_first = gate_first
        self.fc1 = nn.Linear(dim, hidden, bias)
        self.act = act()
        self.fc2 = nn.Linear(hidden // 2, dim, bias)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.fc1(x).chunk(2, -1)
        if self.gate_first:
            x, gate = gate, x
        return self.fc2(x * self.act(gate))


class SwiGlu(nn.Module):
    """silu(fc1_g x) * fc1_x x -> (norm) -> fc2, the gate by its own matrix. (..., C) -> (..., C).

    arXiv:2002.05202; the norm is EVA-02's (Fang et al. 2023, arXiv:2303.11331). `hidden` is the width of each half.
    """

    def __init__(self, dim: int, hidden: int, norm: Callable[[int], nn.Module] | None = None, bias: bool = True):
        super().__init__()
        self.fc1_g = nn.Linear(dim, hidden, bias)
        self.fc1_x = nn.Linear(dim, hidden, bias)
        self.act = nn.SiLU()
        self.norm = norm(hidden) if norm else nn.Identity()
        self.fc2 = nn.Linear(hidden, dim, bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.norm(self.act(self.fc1_g(x)) * self.fc1_x(x)))
