"""Faithfulness of a map: figures for the map, and the same figures for maps that know nothing about the model.

    insertion, deletion     does the class probability rise, or fall, when important pixels are restored, or removed?
    ROAD                    the same, but removed pixels are interpolated from their surroundings, which adds no shapes
    mosaic                  of four images in one, does the map find the one whose class is asked for?
    randomisation           does the map change when the weights do?

Insertion, deletion and ROAD are compared with three controls: random maps, a Gaussian in the centre, and the image's
edges. A method that does not beat them shows the image, not the model (Adebayo et al. 2018, arXiv:1810.03292). The
mosaic needs no control: a map that does not depend on the class has a quarter of its mass on each image, CHANCE.
explain/verdict.py says what the figures are worth.

A map is measured in 50 forwards; with the controls that is 350 forwards an image.
"""

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from explain.api import METHODS, explain
from explain.evaluation import DRAWS, Evaluation, Figures, Sample
from explain.pixels import blur
from explain.render import sample
from explain.result import Explanation, ExplanationError
from explain.steps import Progress, at_once, forward, silent
from zoo.base import Backbone
from zoo.cells import Axis, Cells

STEPS = 20  # in which the pixels are restored or removed
SHARES = 0.2, 0.4, 0.6, 0.8  # of the pixels that ROAD removes
FORWARDS = 2 * (STEPS + 1) + 2 * len(SHARES)  # in which one map is measured
ROAD_NOISE = 0.01  # standard deviation of the noise added to a filled pixel (Rong et al. 2022)

Classifier = Callable[[Tensor], Tensor]  # images (B, 3, H, W) -> logits (B, classes)


@dataclass
class Curve:
    """Probability of the class after each step, and the area under it from 0 to 1."""

    shares: list[float]  # of the pixels restored or removed
    probabilities: list[float]

    @property
    def area(self) -> float:
        """Area by the trapezoid rule."""
        y = self.probabilities
        return (sum(y) - (y[0] + y[-1]) / 2) / (len(y) - 1)


def random_map(x: Tensor, seed: int = 0) -> Tensor:
    """Noise on a 7 x 7 grid, as coarse as many maps are. (3, H, W) -> (H, W)."""
    noise = torch.rand(1, 1, 7, 7, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, x.shape[1:], mode="bilinear")[0, 0]


def centre_map(x: Tensor) -> Tensor:
    """A Gaussian with a standard deviation of a quarter of the side. (3, H, W) -> (H, W)."""
    down, across = (torch.linspace(-2, 2, side) for side in x.shape[1:])
    return torch.exp(-(down[:, None].square() + across.square()) / 2)


def edge_map(x: Tensor) -> Tensor:
    """Magnitude of the brightness gradient, by Sobel's kernels. (3, H, W) -> (H, W)."""
    sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    kernels = torch.stack([sobel, sobel.T])[:, None].to(x)
    grey = F.pad(x.mean(0)[None, None], (1, 1, 1, 1), mode="replicate")
    return F.conv2d(grey, kernels)[0].square().sum(0).sqrt().cpu()


def controls(x: Tensor, number: int) -> dict[str, list[Tensor]]:
    """Maps that know nothing about the model, for an image (3, H, W) and its number in the batch. -> (H, W) each.

    No two images have a random map in common.
    """
    noise = [random_map(x, number * DRAWS + draw) for draw in range(DRAWS)]
    return {"random": noise, "centre": [centre_map(x)], "edges": [edge_map(x)]}


def at_pixels(result: Explanation, size: tuple[int, int]) -> Tensor:
    """Read maps (B, h, w) at every pixel of images of `size`, each cell where it looks. -> (B, H, W) float64."""
    rows, cols = (np.arange(side) + 0.5 for side in size)
    cells = result.places(size)
    return torch.stack([torch.from_numpy(sample(heat.double().numpy(), cells, rows, cols)) for heat in result.raw])


def ranking(heat: Tensor) -> Tensor:
    """Rank of each pixel of a map (H, W), 0 for the most important. -> (H, W).

    Ties are broken in row order, so the result is deterministic.
    """
    order = heat.flatten().argsort(descending=True, stable=True)
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(order))).view(heat.shape)


def probabilities(model: Classifier, images: Iterable[Tensor], target: int, step: int) -> list[float]:
    """The model's probability of the class for each image (3, H, W), `step` of them in one forward."""
    images, found = iter(images), []
    with torch.inference_mode():
        while part := list(islice(images, step)):
            found.append(model(torch.stack(part)))
    return torch.cat(found).softmax(1)[:, target].tolist()


def exchange(x: Tensor, other: Tensor, place: Tensor, share: float) -> Tensor:
    """Take the first `share` of the pixels, by their rank in `place`, from the other image."""
    return torch.where((place < round(share * place.numel())).to(x.device), other, x)


def deletion(model: Classifier, x: Tensor, heat: Tensor, target: int, steps: int = STEPS) -> Curve:
    """Replace pixels by grey, the most important first: the smaller the area, the better the map.

    Petsiuk et al. 2018, RISE, arXiv:1806.07421. x (3, H, W), heat (H, W).
    """
    return _curve(model, x, torch.zeros_like(x), heat, target, steps)


def insertion(model: Classifier, x: Tensor, heat: Tensor, target: int, steps: int = STEPS) -> Curve:
    """Restore the pixels of a blurred image, the most important first: the larger the area, the better the map."""
    return _curve(model, blur(x[None])[0], x, heat, target, steps)


def _curve(model: Classifier, start: Tensor, end: Tensor, heat: Tensor, target: int, steps: int) -> Curve:
    place = ranking(heat)
    shares = [i / steps for i in range(steps + 1)]
    images = (exchange(start, end, place, share) for share in shares)
    return Curve(shares, probabilities(model, images, target, at_once(end)))


def fill_in(x: Tensor, hole: Tensor, seed: int = 0, noise: float = ROAD_NOISE) -> Tensor:
    """Interpolate pixels: each becomes the mean of its eight neighbours, with the four straight ones counted twice.

    x (3, H, W), hole (H, W) of booleans. At the edge of the image the mean is over the neighbours that exist. The
    equations are solved by conjugate gradients. Rong et al. 2022, ROAD, arXiv:2202.00449.
    """
    missing = hole.to(x)
    total = neighbours(torch.ones_like(x[:1]))

    def apply(values: Tensor) -> Tensor:
        return missing * (total * values - neighbours(values))

    known = x * (1 - missing)
    solved = torch.zeros_like(x)
    residual = missing * neighbours(known)
    direction, power = residual.clone(), residual.square().sum()
    enough = max(1e-20, torch.finfo(x.dtype).eps ** 2) * power
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


def neighbours(x: Tensor) -> Tensor:
    """Sum of each pixel's neighbours, none beyond the edge, weighted 1 2 1, 2 0 2, 1 2 1 by twelfths. x (C, H, W).

    The weights are 1 2 1 down times 1 2 1 across without the centre; a quarter of the time of a convolution on a CPU.
    """
    wide = F.pad(x, (1, 1, 1, 1))
    rows = wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:] - 4 * x) / 12


def road(model: Classifier, x: Tensor, heat: Tensor, target: int) -> float:
    """Half the difference in probability between removing the least and the most important pixels.

    Averaged over SHARES; from -1/2 to 1/2, and 0 for a map that knows nothing. x (3, H, W), heat (H, W).
    """
    place = ranking(heat)
    counts = [round(share * place.numel()) for share in SHARES]
    holes = (hole for count in counts for hole in (place < count, place >= place.numel() - count))
    found = probabilities(model, (fill_in(x, hole) for hole in holes), target, at_once(x))
    return sum(least - most for most, least in zip(found[::2], found[1::2], strict=True)) / (2 * len(SHARES))


def mosaic(images: list[Tensor]) -> Tensor:
    """Four images (3, H, W) at half their size: top left, top right, bottom left, bottom right. -> (3, H, W)."""
    if len(images) != 4:
        raise ExplanationError(f"A mosaic is made of 4 images, not {len(images)}.")
    height, width = images[0].shape[1:]
    top, left = height - height // 2, width - width // 2
    sizes = [(top, left), (top, width - left), (height - top, left), (height - top, width - left)]
    a, b, c, d = (
        F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
        for image, size in zip(images, sizes, strict=True)
    )
    return torch.cat([torch.cat([a, b], 2), torch.cat([c, d], 2)], 1)


def share_in_quadrant(heat: Tensor, quadrant: int, cells: Cells, size: tuple[int, int]) -> float:
    """Share of a map's positive mass that lies in one quadrant of an image of `size`, numbered as in `mosaic`.

    heat (h, w). Each of its `cells` is as wide as their step: a cell that lies half outside counts half. The share is 0
    for a map with no positive mass.
    """
    mass = heat.double().clamp(min=0)
    down, across = (
        _half(axis, side - side // 2, second)
        for axis, side, second in zip(cells, size, divmod(quadrant, 2), strict=True)
    )
    total = mass.sum()
    return (down @ mass @ across / total).item() if total > 0 else 0.0


def _half(axis: Axis, middle: int, second: int) -> Tensor:
    """Share of each cell that lies before the middle of a side, in pixels, or after it if `second`."""
    edges = axis.start + axis.step * (torch.arange(axis.size, dtype=torch.float64) - 0.5)
    first = ((middle - edges) / axis.step).clamp(0, 1)
    return 1 - first if second else first


def randomised(model: Backbone, seed: int = 0, progress: Progress = silent) -> Backbone:
    """A copy with the values of every parameter shuffled; one whose values are all alike gets noise of their size."""
    copy = deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in copy.parameters():
            progress(0, 0)
            flat = p.detach().flatten().cpu()
            mixed = flat[torch.randperm(len(flat), generator=generator)]
            if len(flat) > 1 and flat.std() < 1e-3 * flat.abs().mean():
                mixed = flat * (1 + torch.randn(flat.shape, generator=generator, dtype=flat.dtype) / 2)
            p.copy_(mixed.view_as(p))
    return copy


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's correlation of two maps' absolute values; ties get their mean rank. 1 for a map with itself."""
    ranks = torch.stack([_ranks(a.abs().flatten().double()), _ranks(b.abs().flatten().double())])
    return torch.corrcoef(ranks)[0, 1].nan_to_num().item()


def _ranks(values: Tensor) -> Tensor:
    _, group, size = values.unique(return_inverse=True, return_counts=True)
    last = size.cumsum(0).double()
    return (last - (size.double() - 1) / 2)[group]


def measure(
    model: Backbone, x: Tensor, maps: dict[str, Tensor], targets: list[int], progress: Progress = silent
) -> dict[str, Figures]:
    """Measure maps (B, H, W) by name, and the controls, for images x (B, 3, H, W) with one target class each.

    `progress` is told the forwards done, before and after each: between two of them, pixels may be filled in.
    """
    tried = [{name: [heats[i]] for name, heats in maps.items()} | controls(image, i) for i, image in enumerate(x)]
    total, done = FORWARDS * sum(len(heats) for image in tried for heats in image.values()), 0

    def telling(images: Tensor) -> Tensor:
        nonlocal done
        progress(done, total)
        outputs = model(images)
        done += len(images)
        progress(done, total)
        return outputs

    def figures(image: Tensor, heat: Tensor, target: int) -> tuple[float, float, float]:
        shown, covered = insertion(telling, image, heat, target), deletion(telling, image, heat, target)
        return shown.area, covered.area, road(telling, image, heat, target)

    found = [
        {name: [figures(image, heat, target) for heat in heats] for name, heats in by_name.items()}
        for image, target, by_name in zip(x, targets, tried, strict=True)
    ]

    def column(name: str, figure: int) -> Sample:
        return Sample(tuple(tuple(row[figure] for row in image[name]) for image in found))

    return {name: Figures(*(column(name, figure) for figure in range(3))) for name in found[0]}


def evaluate(model: Backbone, x: Tensor, method: str, progress: Progress = silent, **options: Any) -> Evaluation:
    """Measure a method on images x (B, 3, H, W), for the class that each map explains; `options` are the method's."""
    results = maps_of(model, x, method, progress, **options)
    if results[0].raw.ndim != 3:
        raise ExplanationError(
            "This map has three values per place, so its pixels have no order of importance: choose another method."
        )
    if not model.num_classes:
        raise ExplanationError("This checkpoint has no classes, so there is no score that a perturbation could change.")
    explained = [target for result in results for target in result.target or ()]
    targets = explained or forward(model, x, progress).argmax(1).tolist()
    heats = []
    for result in results:
        progress(0, 0)
        heats.append(at_pixels(result, (x.shape[2], x.shape[3])))
    figures = measure(model, x, {method: torch.cat(heats)}, targets, progress)
    same = options | {"target": explained} if explained else options
    others = maps_of(randomised(model, progress=progress), x, method, progress, **same)
    alike = [(rank_correlation(a.raw[0], b.raw[0]),) for a, b in zip(results, others, strict=True)]
    return Evaluation(figures, point(model, x, method, targets, progress, **options), Sample(tuple(alike)))


def maps_of(model: Backbone, x: Tensor, method: str, progress: Progress, **options: Any) -> list[Explanation]:
    """Explain images x (B, 3, H, W) one by one; a list of targets has one for each."""
    if method in METHODS and METHODS[method].slow:
        options["progress"] = progress
    targets, found = options.get("target"), []
    for i, image in enumerate(x):
        progress(0, 0)
        own = {"target": targets[i]} if isinstance(targets, list) else {}
        found.append(explain(model, image[None], method, **(options | own)))
    return found


def point(
    model: Backbone, x: Tensor, method: str, targets: list[int], progress: Progress, **options: Any
) -> Sample | None:
    """The pointing game: how much of the map for each of four images' classes lies on that image, of the four in one.

    The four are the first of each class. None if there are fewer, or if the method does not depend on a class.
    """
    four = [targets.index(target) for target in dict.fromkeys(targets)][:4]
    if "target" not in options or len(four) < 4:
        return None
    whole, size = mosaic([x[i] for i in four]), (x.shape[2], x.shape[3])
    shares = []
    for quadrant, i in enumerate(four):
        (result,) = maps_of(model, whole[None], method, progress, **(options | {"target": targets[i]}))
        shares.append((share_in_quadrant(result.raw[0], quadrant, result.places(size), size),))
    return Sample(tuple(shares))
