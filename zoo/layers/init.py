"""How random weights are drawn in more than one family."""

from torch import nn


def init_linear(module: nn.Module) -> None:
    """Draw a linear layer's weights as in ViT; leave any other module as it is."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
