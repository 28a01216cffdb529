"""How random weights are drawn, where two families draw them alike."""

from torch import nn


def init_linear(module: nn.Module) -> None:
    """Draw a linear layer's weights as ViT does; leave any other module as it is."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
