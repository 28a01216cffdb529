"""How far maps of an ImageNet classifier can be trusted, measured on photos that Python packages carry.

    pip install scikit-image       # three of the eight photos; gradio and scikit-learn hold the others
    python -m tools.real_photos    # writes docs/faithfulness.md

Pointing: for every four photos of four classes, laid out in one image, does a map for one of the classes hold most of
its positive mass on that class's photo? Then the figures of explain/faithfulness.py, on the photos one by one.
"""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import zoo
from explain import METHODS, faithfulness
from explain.api import explain
from explain.faithfulness import CONTROLS, at_pixels, mosaic, randomised, rank_correlation
from tools.bundle import hit
from zoo import labels
from zoo.base import Backbone
from zoo.cells import Cells

CHECKPOINT = "tf_efficientnet_lite0.pypi_in1k"
REPORT = Path(__file__).parent.parent / "docs" / "faithfulness.md"
# A package and a file in it -> what a person says it shows, as ImageNet calls it.
PHOTOS = {
    "gradio/media_assets/images/cheetah.jpg": {"cheetah"},
    "gradio/media_assets/images/cheetah1.jpg": {"cheetah"},
    "gradio/test_data/cheetah2.jpg": {"cheetah"},
    "gradio/media_assets/images/lion.jpg": {"lion"},
    "sklearn/datasets/images/china.jpg": {"palace"},
    "skimage/data/chelsea.png": {"tabby", "tiger cat", "Egyptian cat"},
    "skimage/data/coffee.png": {"espresso"},
    "skimage/data/camera.png": {"tripod"},
}
CLASS_MAPS: dict[str, dict[str, Any]] = {
    "grad_cam": {},
    "layer_cam": {},
    "input_x_gradient": {},
    "integrated_gradients": {"steps": 32},
}
EVERY_MAP = CLASS_MAPS | {"eigen_cam": {}}  # the last asks for no class
TARGET_FREE = {"eigen_cam"}


@dataclass(frozen=True)
class Known:
    """A photo that the model classifies as a person does."""

    name: str
    x: Tensor  # as the model takes it, (3, H, W)
    target: int


def path(file: str) -> Path | None:
    """Where a file of a package lies; None where the package is not installed."""
    package, _, inside = file.partition("/")
    spec = importlib.util.find_spec(package)
    folders = (spec.submodule_search_locations if spec else None) or ()
    return next((found for folder in folders if (found := Path(folder) / inside).is_file()), None)


def known(model: Backbone, row: zoo.Checkpoint) -> Iterator[Known]:
    """The photos that are here and that the model classifies right."""
    for file, said in PHOTOS.items():
        if here := path(file):
            x = zoo.preprocess(zoo.open_photo(here), row)
            (target,) = faithfulness.first_guesses(model, x[None])
            if labels.names("in1k")[target] in said:
                yield Known(here.name, x, target)


def fours(photos: list[Known], seed: int = 0) -> Iterator[list[Known]]:
    """Every four photos of four classes, in a random order."""
    generator = torch.Generator().manual_seed(seed)
    for four in combinations(photos, 4):
        if len({photo.target for photo in four}) == 4:
            yield [four[i] for i in torch.randperm(4, generator=generator)]


def asked(method: str, targets: list[int]) -> dict[str, Any]:
    return EVERY_MAP[method] | ({} if method in TARGET_FREE else {"target": targets})


def points(model: Backbone, method: str, four: list[Known]) -> list[float]:
    """For each photo of a mosaic: 1 if the map for its class holds most of its mass there, a part of 1 for a tie."""
    whole = mosaic([photo.x for photo in four])
    size = whole.shape[1], whole.shape[2]
    if method in CONTROLS:
        heats, cells = [CONTROLS[method](whole)] * 4, Cells.even(size, size)
    else:
        result = explain(model, whole.expand(4, -1, -1, -1), method, **asked(method, [photo.target for photo in four]))
        heats, cells = list(result.raw), result.places(size)
    return [hit(heat, quarter, cells, size) for quarter, heat in enumerate(heats)]


def table(model: Backbone, photos: list[Known]) -> Iterator[list[str]]:
    """A row a map: pointing, insertion, deletion, ROAD, and the correlation with the map of shuffled weights."""
    x, targets = torch.stack([photo.x for photo in photos]), [photo.target for photo in photos]
    size = x.shape[2], x.shape[3]
    results = {method: explain(model, x, method, **asked(method, targets)) for method in EVERY_MAP}
    figures = faithfulness.measure(model, x, {m: at_pixels(found, size) for m, found in results.items()}, targets)
    shuffled, mosaics = randomised(model), list(fours(photos))
    for name, figure in figures.items():
        hits = [point for four in mosaics for point in points(model, name, four)]
        correlation = "1" if name != "random" else ""
        if name in results:
            others = explain(shuffled, x, name, **asked(name, targets)).raw
            pairs = [rank_correlation(*pair) for pair in zip(results[name].raw, others, strict=True)]
            correlation = f"{sum(pairs) / len(pairs):.2f}"
        yield [
            METHODS[name].title if name in METHODS else f"{name} (control)",
            f"{100 * sum(hits) / len(hits):.0f} %",
            f"{figure.insertion:.3f}",
            f"{figure.deletion:.3f}",
            f"{figure.road:+.3f}",
            correlation,
        ]


HEAD = ["Map", "Finds its photo of four", "Insertion", "Deletion", "ROAD", "Like the map of shuffled weights"]
TEXT = """# Can the maps be trusted?

Measured by `python -m tools.real_photos` on {checkpoint} (float32), with {count} photos that Python packages carry and
that it classifies as a person does: {photos}. A few photos of a few classes show that the methods work as they should;
they are no benchmark.

{table}

- **Finds its photo of four**: {mosaics} images, each of four photos of four classes at half their size, in a random
  order (seed 0): every choice of four that there is. In each, all four classes are asked for. The figure is how often
  the map for a class holds more of its positive mass on that class's photo than on any other; chance is 25 %.
- **Insertion** (higher is better): area under the probability of the class while pixels come back from a blur, those
  that the map calls important first. **Deletion** (lower is better): the same while they are painted grey. 20 steps;
  Petsiuk et al. 2018, arXiv:1806.07421.
- **ROAD** (higher is better, 0 for a map that knows nothing): how much more the class loses with the most important
  pixels than with the least important ones, each filled in from around it. Rong et al. 2022, arXiv:2202.00449.
- **Like the map of shuffled weights**: rank correlation of a map with that of the same model after the values of each
  of its parameters were shuffled; near 1, the map shows the photo and not the model. Adebayo et al. 2018,
  arXiv:1810.03292.
- Integrated gradients: 32 steps. Eigen-CAM asks for no class, so it can't find one of four.
- The controls know nothing of the model: noise on a 7x7 grid, a Gaussian in the centre, and the photo's edges.
"""


def main() -> None:
    row, model = zoo.checkpoint(CHECKPOINT), zoo.load(CHECKPOINT)
    photos = list(known(model, row))
    missing = [file for file in PHOTOS if path(file) is None]
    if missing:
        raise SystemExit(f"Not here: {', '.join(missing)}. Install scikit-image and scikit-learn.")
    lines = [HEAD, ["---", *["--:"] * 5], *table(model, photos)]
    names = labels.names("in1k")
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(
        TEXT.format(
            checkpoint=CHECKPOINT,
            count=len(photos),
            photos=", ".join(f"{photo.name} ({names[photo.target]})" for photo in photos),
            mosaics=len(list(fours(photos))),
            table="\n".join(f"| {' | '.join(cells)} |" for cells in lines),
        )
    )


if __name__ == "__main__":
    main()
