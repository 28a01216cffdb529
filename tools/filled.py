"""Weights and pictures that depend on nothing but names and shapes, so that two programs can be held side by side."""

import hashlib

import torch
from torch import Tensor


def fill(state_dict: dict[str, Tensor], salt: str = "") -> dict[str, Tensor]:
    """Make float64 weights that let every layer matter, each from its own key, whatever the order of the keys.

    A reference's own init hides mistakes: gamma = 1e-6 silences a block, zeros silence a head. Buffers that are not
    floating point, such as an index, are computed by the model and stay.
    """
    filled = {}
    for key, value in state_dict.items():
        seed = int.from_bytes(hashlib.sha256((salt + key).encode()).digest()[:7], "big")
        w = torch.randn(value.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        if not value.is_floating_point():
            filled[key] = torch.zeros_like(value, device="cpu") if value.is_meta else value
        elif value.ndim > 1:
            filled[key] = w / max(1, value[0].numel()) ** 0.5
        elif key.endswith("running_var"):
            filled[key] = 1 + 0.3 * w.abs()
        else:
            filled[key] = key.endswith(("weight", "gamma", "scale")) + 0.3 * w
    return filled


def signature(state_dict: dict[str, Tensor]) -> str:
    """Digest of names and shapes, in any order."""
    text = "\n".join(sorted(f"{k} {tuple(v.shape)}" for k, v in state_dict.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def picture(batch: int, height: int, width: int) -> Tensor:
    """The noise that models are shown. (batch, 3, height, width) float64."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 3, height, width, generator=generator, dtype=torch.float64)
