"""Weights and images that depend only on names and shapes, so that two programs can be compared."""

import hashlib
from functools import cache

import torch
from torch import Tensor

BANK = 2**22 - 3  # numbers in the noise bank; a prime, so that no two rows of a weight start at the same place


@cache
def _bank() -> Tensor:
    """(BANK,) float64, standard normal."""
    return torch.randn(BANK, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def start(key: str) -> int:
    """The place in the bank at which the noise of a key begins."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:7], "big") % BANK


def _noise(key: str, shape: torch.Size) -> Tensor:
    """Read the bank, as a ring, from a place that depends on the key."""
    noise = torch.empty(shape, dtype=torch.float64)
    left, place = noise.view(-1), start(key)
    while len(left):
        part = _bank()[place : place + len(left)]
        left[: len(part)] = part
        left, place = left[len(part) :], 0
    return noise


def fill(state_dict: dict[str, Tensor], salt: str = "", gain: float = 1.0) -> dict[str, Tensor]:
    """Make float64 weights with which every layer matters; each depends only on its own key and shape.

    A reference's own init hides mistakes: gamma = 1e-6 silences a block, and zeros silence a head. Every batch norm
    multiplies by about `gain`: without it, many layers that each weaken the image would leave a millionth of it.
    Buffers that are not floating point, such as an index, are computed by the model and are not changed.
    """
    filled = {}
    for key, value in state_dict.items():
        if not value.is_floating_point():
            filled[key] = torch.zeros_like(value, device="cpu") if value.is_meta else value
            continue
        w = _noise(salt + key, value.shape)
        if value.ndim > 1:
            inputs = max(1, value[0].numel())
            # A few rows of very many numbers are kernels to be mixed (CondConv), which have far fewer inputs than that.
            kernels = value.ndim == 2 and len(value) <= 16 and inputs > 8192
            filled[key] = w.div_(inputs ** (0.25 if kernels else 0.5))
        elif key.endswith("running_var"):
            filled[key] = w.abs_().mul_(0.3).add_(1).div_(gain**2)
        elif key.endswith(("put_min", "put_max")):  # bounds that clamp some numbers and leave others
            filled[key] = w.abs_().add_(1).mul_(-1 if key.endswith("min") else 1)
        else:
            filled[key] = w.mul_(0.3).add_(key.endswith(("weight", "gamma", "scale")))
    return filled


def signature(state_dict: dict[str, Tensor]) -> str:
    """Digest of names and shapes, independent of their order."""
    text = "\n".join(sorted(f"{k} {tuple(v.shape)}" for k, v in state_dict.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def noise_image(batch: int, height: int, width: int) -> Tensor:
    """Noise as an input image. (batch, 3, height, width) float64."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 3, height, width, generator=generator, dtype=torch.float64)
