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
