"""What the features at a layer tell apart, without asking for a class."""

import torch
from torch import Tensor

from explain.result import Explanation, ExplanationError
from explain.taps import find_tap
from zoo.base import Backbone
from zoo.probe import probe

COMPONENTS = 3  # as many as a colour has


def principal_components(features: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Project features (N, C) on the directions in which they differ most. -> (N, count), shares of variance (count,).

    The sign of a direction is free: the largest of its C entries is made positive.
    """
    x = features.double() - features.double().mean(0)
    _, lengths, directions = torch.linalg.svd(x, full_matrices=False)
    directions = directions[:count]
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    power = lengths.square()
    return x @ (directions * largest.sign()).T, power[:count] / power.sum().clamp(min=torch.finfo(power.dtype).tiny)


def explain_pca(model: Backbone, x: Tensor, tap: str = "cam") -> Explanation:
    """Show the three directions in which the features at a tap differ most. x (B, 3, H, W) -> (B, 3, h, w).

    The directions are those of all pictures together, so the same colour means the same in each. Oquab et al. 2023,
    DINOv2, arXiv:2304.07193, section 7.5.
    """
    with torch.inference_mode(), probe(taps={tap}) as seen:
        model(x)
    features = find_tap(seen.taps, tap).as_map()  # (B, C, h, w)
    batch, channels, height, width = features.shape
    if batch * height * width <= COMPONENTS or channels < COMPONENTS:
        raise ExplanationError(f"The features at {tap!r} are too few to tell directions: {batch} x {height} x {width}.")
    values, share = principal_components(features.movedim(1, -1).flatten(0, 2), COMPONENTS)
    raw = values.T.view(COMPONENTS, batch, height, width).transpose(0, 1)
    result = Explanation(raw.cpu(), "pca", tap)
    result.notes.append(f"The three colours hold {100 * share.sum():.0f} % of what differs between places.")
    return result


def _at(grid: tuple[int, int], query: tuple[float, float]) -> tuple[int, int]:
    """The cell of a grid that holds a place, (down, across) from 0 to 1."""
    row, col = (min(int(share * cells), cells - 1) for share, cells in zip(query, grid, strict=True))
    return row, col


def explain_similarity(
    model: Backbone, x: Tensor, query: tuple[float, float] = (0.5, 0.5), tap: str = "cam"
) -> Explanation:
    """Cosine between the features at one place and at every other. x (B, 3, H, W) -> maps (B, h, w) from -1 to 1.

    `query` is a place in the picture, (down, across) from 0 to 1.
    """
    with torch.inference_mode(), probe(taps={tap}) as seen:
        model(x)
    features = find_tap(seen.taps, tap).as_map()
    row, col = _at((features.shape[2], features.shape[3]), query)
    raw = torch.cosine_similarity(features, features[:, :, row, col, None, None], dim=1)
    return Explanation(raw.cpu(), "similarity", f"{tap}, row {row + 1} and column {col + 1}")


def explain_influence(
    model: Backbone, x: Tensor, query: tuple[float, float] = (0.5, 0.5), tap: str = "cam"
) -> Explanation:
    """Which pixels move the features at one place: its effective receptive field. x (B, 3, H, W) -> maps (B, H, W).

    The gradient of the features' length, summed over the colours without its sign (Luo et al. 2017, arXiv:1701.04128).
    For every model, whether it has attention or not.
    """
    with torch.enable_grad(), probe(taps={tap}) as seen:
        x = x.detach().clone().requires_grad_()
        model(x)
        features = find_tap(seen.taps, tap).as_map()
        row, col = _at((features.shape[2], features.shape[3]), query)
        (gradient,) = torch.autograd.grad(features[:, :, row, col].norm(dim=1).sum(), x)
    result = Explanation(gradient.abs().sum(1).cpu(), "influence", f"{tap}, row {row + 1} and column {col + 1}")
    result.warn_if_empty(torch.finfo(torch.float32).tiny)
    return result
