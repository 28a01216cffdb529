"""How far a map can be trusted: figures for the map, and the same figures for maps that know nothing of the model.

    insertion, deletion     does showing, or covering, what the map calls important raise, or lower, the class?
    ROAD                    the same, with pixels filled in from around them, so that covering draws no shapes
    mosaic                  of four pictures in one, does the map find the one whose class is asked for?
    randomisation           does the map change when the weights do?

Three controls stand beside every figure: a random map, a Gaussian in the centre, and the picture's edges. A method that
does not beat them shows the picture, not the model (Adebayo et al. 2018, arXiv:1810.03292).
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from explain.api import METHODS, explain
from explain.pixels import blur
from explain.render import sample
from explain.result import Explanation, ExplanationError, Progress, silent
from zoo.base import Backbone
from zoo.cells import Axis, Cells

BATCH = 16  # images in one forward
SHARES = 0.2, 0.4, 0.6, 0.8  # of the pixels, that ROAD takes away
ROAD_NOISE = 0.01  # deviation of what is added to a filled pixel (Rong et al. 2022)

Classifier = Callable[[Tensor], Tensor]  # images (B, 3, H, W) -> logits (B, classes)


@dataclass
class Curve:
    """Probability of the class after each step, and the area under it from 0 to 1."""

    shares: list[float]  # of the pixels, shown or covered
    probabilities: list[float]

    @property
    def area(self) -> float:
        """By the trapezoid rule."""
        y = self.probabilities
        return (sum(y) - (y[0] + y[-1]) / 2) / (len(y) - 1)


def random_map(x: Tensor, seed: int = 0) -> Tensor:
    """Noise on a 7 x 7 grid, as coarse as many maps are. (3, H, W) -> (H, W)."""
    noise = torch.rand(1, 1, 7, 7, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, x.shape[1:], mode="bilinear")[0, 0]


def centre_map(x: Tensor) -> Tensor:
    """A Gaussian with a deviation of a quarter of the side. (3, H, W) -> (H, W)."""
    down, across = (torch.linspace(-2, 2, side) for side in x.shape[1:])
    return torch.exp(-(down[:, None].square() + across.square()) / 2)


def edge_map(x: Tensor) -> Tensor:
    """Steepness of the brightness, by Sobel's kernels. (3, H, W) -> (H, W)."""
    sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    kernels = torch.stack([sobel, sobel.T])[:, None].to(x)
    grey = F.pad(x.mean(0)[None, None], (1, 1, 1, 1), mode="replicate")
    return F.conv2d(grey, kernels)[0].square().sum(0).sqrt().cpu()


CONTROLS: dict[str, Callable[[Tensor], Tensor]] = {"random": random_map, "centre": centre_map, "edges": edge_map}


def at_pixels(result: Explanation, size: tuple[int, int]) -> Tensor:
    """Read maps (B, h, w) at every pixel of images of `size`, each cell where it looks. -> (B, H, W) float64."""
    rows, cols = (np.arange(side) + 0.5 for side in size)
    cells = result.places(size)
    return torch.stack([torch.from_numpy(sample(heat.double().numpy(), cells, rows, cols)) for heat in result.raw])


def ranking(heat: Tensor) -> Tensor:
    """Position of each pixel in the order of a map (H, W), the most important first. -> (H, W) from 0.

    Ties go by rows, so the order is always the same.
    """
    order = heat.flatten().argsort(descending=True, stable=True)
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(order))).view(heat.shape)


def probabilities(model: Classifier, pictures: list[Tensor], target: int) -> list[float]:
    """What the model gives the class for each picture (3, H, W)."""
    with torch.inference_mode():
        found = [model(torch.stack(pictures[i : i + BATCH])) for i in range(0, len(pictures), BATCH)]
    return torch.cat(found).softmax(1)[:, target].tolist()


def exchange(x: Tensor, other: Tensor, place: Tensor, share: float) -> Tensor:
    """Take the first `share` of the pixels, by their place in an order, from the other picture."""
    return torch.where((place < round(share * place.numel())).to(x.device), other, x)


def deletion(model: Classifier, x: Tensor, heat: Tensor, target: int, steps: int = 20) -> Curve:
    """Cover with grey, the most important first: the lower the area, the better the map (Petsiuk et al. 2018).

    RISE, arXiv:1806.07421. x (3, H, W), heat (H, W).
    """
    return _curve(model, x, torch.zeros_like(x), heat, target, steps)


def insertion(model: Classifier, x: Tensor, heat: Tensor, target: int, steps: int = 20) -> Curve:
    """Bring the picture back from a blur, the most important first: the higher the area, the better the map."""
    return _curve(model, blur(x[None])[0], x, heat, target, steps)


def _curve(model: Classifier, start: Tensor, end: Tensor, heat: Tensor, target: int, steps: int) -> Curve:
    place = ranking(heat)
    shares = [i / steps for i in range(steps + 1)]
    return Curve(shares, probabilities(model, [exchange(start, end, place, share) for share in shares], target))


def fill_in(x: Tensor, hole: Tensor, seed: int = 0, noise: float = ROAD_NOISE) -> Tensor:
    """Fill pixels in from around them: each is the mean of its eight neighbours, straight ones counting twice.

    x (3, H, W), hole (H, W) of booleans. At the edge of the picture the mean is over those there are. The equations are
    solved by conjugate gradients. Rong et al. 2022, ROAD, arXiv:2202.00449.
    """
    kernel = (torch.tensor([[1.0, 2, 1], [2, 0, 2], [1, 2, 1]]) / 12).to(x)[None, None]

    def around(values: Tensor) -> Tensor:
        return F.conv2d(values[:, None], kernel, padding=1)[:, 0]

    missing = hole.to(x)
    total = around(torch.ones_like(x[:1]))

    def apply(values: Tensor) -> Tensor:
        return missing * (total * values - around(values))

    known = x * (1 - missing)
    solved = torch.zeros_like(x)
    residual = missing * around(known)
    direction, power = residual.clone(), residual.square().sum()
    enough = 1e-20 * power
    for _ in range(4 * sum(hole.shape)):
        if power <= enough:
            break
        image = apply(direction)
        step = power / (direction * image).sum()
        solved += step * direction
        residual -= step * image
        before, power = power, residual.square().sum()
        direction = residual + power / before * direction
    grain = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(x)
    return known + missing * (solved + noise * grain)


def road(model: Classifier, x: Tensor, heat: Tensor, target: int) -> float:
    """Half of how much more the class loses with the most important pixels than with the least important ones.

    In the mean over the shares taken away; from -1/2 to 1/2, 0 for a map that knows nothing. x (3, H, W), heat (H, W).
    """
    place = ranking(heat)
    pictures = []
    for share in SHARES:
        count = round(share * place.numel())
        pictures += [fill_in(x, place < count), fill_in(x, place >= place.numel() - count)]
    found = probabilities(model, pictures, target)
    return sum(least - most for most, least in zip(found[::2], found[1::2], strict=True)) / (2 * len(SHARES))


def mosaic(pictures: list[Tensor]) -> Tensor:
    """Four pictures (3, H, W) at half their size: top left, top right, bottom left, bottom right. -> (3, H, W)."""
    if len(pictures) != 4:
        raise ExplanationError(f"A mosaic is made of 4 pictures, not {len(pictures)}.")
    height, width = pictures[0].shape[1:]
    top, left = height - height // 2, width - width // 2
    sizes = [(top, left), (top, width - left), (height - top, left), (height - top, width - left)]
    a, b, c, d = (
        F.interpolate(picture[None], size, mode="bilinear", antialias=True)[0]
        for picture, size in zip(pictures, sizes, strict=True)
    )
    return torch.cat([torch.cat([a, b], 2), torch.cat([c, d], 2)], 1)


def share_in_quadrant(heat: Tensor, quadrant: int, cells: Cells, size: tuple[int, int]) -> float:
    """Share of a map's positive mass that lies in one quadrant of an image of `size`, numbered as in `mosaic`.

    heat (h, w), whose `cells` are as wide as their step: one that lies half outside counts half. A map with no positive
    mass has none anywhere.
    """
    mass = heat.double().clamp(min=0)
    down, across = (
        _half(axis, side - side // 2, second)
        for axis, side, second in zip(cells, size, divmod(quadrant, 2), strict=True)
    )
    total = mass.sum()
    return (down @ mass @ across / total).item() if total > 0 else 0.0


def _half(axis: Axis, middle: int, second: int) -> Tensor:
    """How much of each cell lies before, or if `second` after, the middle of a side, in pixels."""
    edges = axis.start + axis.step * (torch.arange(axis.size, dtype=torch.float64) - 0.5)
    first = ((middle - edges) / axis.step).clamp(0, 1)
    return 1 - first if second else first


def randomised(model: Backbone, seed: int = 0) -> Backbone:
    """A copy whose every parameter has its values shuffled; those that are all alike get noise of their size."""
    copy = deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in copy.parameters():
            flat = p.detach().flatten().cpu()
            mixed = flat[torch.randperm(len(flat), generator=generator)]
            if len(flat) > 1 and flat.std() < 1e-3 * flat.abs().mean():
                mixed = flat * (1 + torch.randn(flat.shape, generator=generator, dtype=flat.dtype) / 2)
            p.copy_(mixed.view_as(p))
    return copy


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's correlation of two maps' absolute values, ties by their mean rank. 1 for a map with itself."""
    ranks = torch.stack([_ranks(a.abs().flatten().double()), _ranks(b.abs().flatten().double())])
    return torch.corrcoef(ranks)[0, 1].nan_to_num().item()


def _ranks(values: Tensor) -> Tensor:
    _, group, size = values.unique(return_inverse=True, return_counts=True)
    last = size.cumsum(0).double()
    return (last - (size.double() - 1) / 2)[group]


@dataclass
class Figures:
    """What one map reaches, in the mean over the pictures."""

    insertion: float
    deletion: float
    road: float


def measure(
    model: Backbone, x: Tensor, maps: dict[str, Tensor], targets: list[int], progress: Progress = silent
) -> dict[str, Figures]:
    """Measure maps (B, H, W) by name, and the controls beside them, for pictures x (B, 3, H, W) and a class each."""
    maps = maps | {name: torch.stack([make(picture) for picture in x]) for name, make in CONTROLS.items()}
    found = {}
    for n, (name, heats) in enumerate(maps.items()):
        rows = []
        for i, (picture, heat, target) in enumerate(zip(x, heats, targets, strict=True)):
            telling = _telling(model, progress, n * len(x) + i, len(maps) * len(x))
            shown, covered = insertion(telling, picture, heat, target), deletion(telling, picture, heat, target)
            rows.append((shown.area, covered.area, road(telling, picture, heat, target)))
        found[name] = Figures(*(sum(column) / len(rows) for column in zip(*rows, strict=True)))
    return found


def _telling(model: Backbone, progress: Progress, done: int, total: int) -> Classifier:
    """The model, which tells before each batch how far the work is: there it can be ended, or made to wait."""

    def forward(x: Tensor) -> Tensor:
        progress(done, total)
        return model(x)

    return forward


@dataclass
class Evaluation:
    """What is known of a method's maps for some pictures: each figure beside those of the controls."""

    figures: dict[str, Figures]  # by map; the first is the method's
    mosaic: dict[str, float] | None  # share of the map on the right picture of four; None: no four pictures
    correlation: float  # of the maps with those of a model whose weights are shuffled


def evaluate(model: Backbone, x: Tensor, method: str, progress: Progress = silent, **options: Any) -> Evaluation:
    """Measure a method on pictures x (B, 3, H, W), for the class that each map is for; `options` go to the method."""
    if method in METHODS and METHODS[method].slow:
        options["progress"] = progress
    result = explain(model, x, method, **options)
    if result.raw.ndim != 3:
        raise ExplanationError("This map has three values a place: there is no order of importance to be tried.")
    if not model.num_classes:
        raise ExplanationError("This checkpoint has no classes: there is no score that covering could change.")
    targets = result.target or first_guesses(model, x)
    figures = measure(model, x, {method: at_pixels(result, (x.shape[2], x.shape[3]))}, targets, progress)
    other = explain(randomised(model), x, method, **(options | {"target": targets} if result.target else options))
    pairs = zip(result.raw, other.raw, strict=True)
    correlation = sum(rank_correlation(a, b) for a, b in pairs) / len(x)
    return Evaluation(figures, point(model, x, method, targets, **options), correlation)


def first_guesses(model: Backbone, x: Tensor) -> list[int]:
    with torch.inference_mode():
        return model(x).argmax(1).tolist()


def point(model: Backbone, x: Tensor, method: str, targets: list[int], **options: Any) -> dict[str, float] | None:
    """The pointing game: how much of the map for each of the first four pictures' classes lies on that picture.

    None if there are fewer than four, or two of one class, or if the method does not ask for a class.
    """
    if "target" not in options or len(x) < 4 or len(set(targets[:4])) < 4:
        return None
    whole, size = mosaic(list(x[:4])), (x.shape[2], x.shape[3])
    pixels = Cells.even(size, size)
    shares = {
        name: 0.25 * sum(share_in_quadrant(make(whole), q, pixels, size) for q in range(4))
        for name, make in CONTROLS.items()
    }
    found = 0.0
    for quadrant, target in enumerate(targets[:4]):
        result = explain(model, whole[None], method, **(options | {"target": target}))
        found += 0.25 * share_in_quadrant(result.raw[0], quadrant, result.places(size), size)
    return {method: found} | shares
