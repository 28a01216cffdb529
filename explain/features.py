"""Maps of the features at a layer, which do not depend on a class."""

import torch
from torch import Tensor

from explain.result import Explanation, ExplanationError
from explain.taps import find_tap, nearest_cell
from zoo.base import Backbone
from zoo.probe import probe

COMPONENTS = 3  # one per colour channel


def principal_components(features: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Project features (N, C) on the directions in which they differ most. -> (N, count), shares of variance (count,).

    The sign of a direction is arbitrary: the largest of its C entries is made positive.
    """
    x = features.double() - features.double().mean(0)
    _, lengths, directions = torch.linalg.svd(x, full_matrices=False)
    directions = directions[:count]
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    power = lengths.square()
    return x @ (directions * largest.sign()).T, power[:count] / power.sum().clamp(min=torch.finfo(power.dtype).tiny)


def explain_pca(model: Backbone, x: Tensor, tap: str = "cam", joint: bool = True) -> Explanation:
    """Show the three directions in which the features at a tap differ most. x (B, 3, H, W) -> (B, 3, h, w).

    With `joint`, the directions are those of all images together, so a colour means the same in each; otherwise each
    image has its own. Oquab et al. 2023, DINOv2, arXiv:2304.07193, section 7.5.
    """
    with torch.inference_mode(), probe(model, x, taps={tap}) as seen:
        model(x)
    found_tap = find_tap(seen.taps, tap)
    features = found_tap.as_map()  # (B, C, h, w)
    batch, channels, height, width = features.shape
    groups = features.movedim(1, -1).flatten(1, 2)  # (B, h * w, C)
    groups = groups.flatten(0, 1)[None] if joint else groups
    if groups.shape[1] <= COMPONENTS or channels < COMPONENTS:
        raise ExplanationError(
            f"There are too few features at {tap!r} for three directions: {batch} x {height} x {width}."
        )
    found = [principal_components(group, COMPONENTS) for group in groups]
    raw = torch.cat([values for values, _ in found]).view(batch, height, width, COMPONENTS).movedim(-1, 1)
    held = torch.stack([share.sum() for _, share in found])
    result = Explanation(raw.cpu(), "pca", tap, cells=found_tap.cells)
    result.notes.append(f"The three colours hold {100 * held.min():.0f} % of the variance between places.")
    return result


def explain_similarity(
    model: Backbone,
    x: Tensor,
    query: tuple[float, float] = (0.5, 0.5),
    image: int | None = None,
    tap: str = "cam",
) -> Explanation:
    """Cosine between the features at one place and at every place. x (B, 3, H, W) -> maps (B, h, w) from -1 to 1.

    `query` is a place, (down, across) from 0 to 1, in the image of number `image`, with which all images are compared;
    without `image`, each image is compared with its own place.
    """
    with torch.inference_mode(), probe(model, x, taps={tap}) as seen:
        model(x)
    found = find_tap(seen.taps, tap)
    features = found.as_map()
    row, col = nearest_cell(found.cells, (features.shape[2], features.shape[3]), x, query)
    asking = features if image is None else features[image, None]
    raw = torch.cosine_similarity(features, asking[:, :, row, col, None, None], dim=1)
    source = f"{tap}, row {row + 1} and column {col + 1}"
    return Explanation(raw.cpu(), "similarity", source, query=query, cells=found.cells)


def explain_influence(
    model: Backbone, x: Tensor, query: tuple[float, float] = (0.5, 0.5), tap: str = "cam"
) -> Explanation:
    """Which pixels move the features at one place: its effective receptive field. x (B, 3, H, W) -> maps (B, H, W).

    The absolute gradient of the features' length, summed over the colours (Luo et al. 2017, arXiv:1701.04128). It works
    for every model, with or without attention.
    """
    x = x.detach().clone().requires_grad_()
    with torch.enable_grad(), probe(model, x, taps={tap}) as seen:
        model(x)
        found = find_tap(seen.taps, tap)
        features = found.as_map()
        row, col = nearest_cell(found.cells, (features.shape[2], features.shape[3]), x, query)
        (gradient,) = torch.autograd.grad(features[:, :, row, col].norm(dim=1).sum(), x)
    result = Explanation(
        gradient.abs().sum(1).cpu(), "influence", f"{tap}, row {row + 1} and column {col + 1}", query=query
    )
    result.warn_if_empty(torch.finfo(torch.float32).tiny)
    return result
