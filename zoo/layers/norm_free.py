"""Residual nets without normalisation: the variance of the signal is known beforehand, and divided out.

Brock et al. 2021, "Characterizing Signal Propagation to Close the Performance Gap in Unnormalized ResNets",
arXiv:2101.08692: x + alpha f(x / sqrt(variance)), with f made of standardised convolutions, which keep the variance,
and activations, each followed by the factor `gamma` that restores it. So variance grows by alpha^2 a block, and starts
at 1 again where a stage's shortcut is a convolution.
"""

from torch import Tensor, nn

ALPHA = 0.2
# 1 / deviation of the activation of a normal variable with deviation 1.
GAMMA = {nn.ReLU: 1.7139588594436646, nn.SiLU: 1.7881293296813965, nn.GELU: 1.7015043497085571}


class GammaAct(nn.Module):
    """act(x) * gamma. (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, act: type[nn.Module]):
        super().__init__()
        self.act, self.gamma = act(), GAMMA[act]

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x) * self.gamma


def betas(depths: tuple[int, ...]) -> list[list[float]]:
    """1 / sqrt(expected variance) of what each block reads, grouped by stage."""
    found, before = [], 0
    for depth in depths:
        found.append([(1 + ALPHA**2 * (i or before)) ** -0.5 for i in range(depth)])
        before = depth
    return found
