"""How far maps of an ImageNet classifier can be trusted, measured on photos that Python packages carry.

    pip install scikit-image       # three of the eight photos; gradio and scikit-learn hold the others
    python -m tools.real_photos    # writes docs/faithfulness.md

Pointing: for every four photos of four classes, laid out in one image, does a map for one of the classes hold most of
its positive mass on that class's photo? Then the figures of explain/faithfulness.py, on the photos one by one, and the
verdict of explain/verdict.py.
"""

import importlib.util
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import zoo
from explain import METHODS, faithfulness, verdict
from explain.api import explain
from explain.evaluation import CHANCE, DRAWS, Evaluation, Figures, Sample
from explain.faithfulness import at_pixels, mosaic, randomised, rank_correlation
from explain.verdict import judge
from tools.bundle import hit
from zoo import labels
from zoo.base import Backbone

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
    result = explain(model, whole.expand(4, -1, -1, -1), method, **asked(method, [photo.target for photo in four]))
    cells = result.places(size)
    return [hit(heat, quarter, cells, size) for quarter, heat in enumerate(result.raw)]


def evaluations(model: Backbone, photos: list[Known]) -> Iterator[Evaluation]:
    """An evaluation a method, as faithfulness.evaluate makes it; the controls, the same for all, are measured once."""
    x, targets = torch.stack([photo.x for photo in photos]), [photo.target for photo in photos]
    size, shuffled = (x.shape[2], x.shape[3]), randomised(model)
    results = {method: explain(model, x, method, **asked(method, targets)) for method in EVERY_MAP}
    measured = faithfulness.measure(model, x, {m: at_pixels(found, size) for m, found in results.items()}, targets)
    controls = {name: figures for name, figures in measured.items() if name not in results}
    for method, result in results.items():
        options = asked(method, targets)
        pairs = zip(result.raw, explain(shuffled, x, method, **options).raw, strict=True)
        alike = Sample(tuple((rank_correlation(*pair),) for pair in pairs))
        pointing = faithfulness.point(model, x, method, targets, **options)
        yield Evaluation({method: measured[method]} | controls, pointing, alike)


def table(model: Backbone, photos: list[Known], found: list[Evaluation]) -> Iterator[list[str]]:
    """A row a map: pointing, insertion, deletion, ROAD, and the correlation with the map of shuffled weights."""
    mosaics = list(fours(photos))
    for one in found:
        hits = [point for four in mosaics for point in points(model, one.method, four)]
        pointing = f"{100 * sum(hits) / len(hits):.0f} %" if one.pointing else ""
        figures = one.figures[one.method]
        yield [METHODS[one.method].title, pointing, *three(figures), f"{one.correlation.mean:.2f}"]
    for name, figures in list(found[0].figures.items())[1:]:
        yield [f"{name} (control)", "", *three(figures), ""]


def three(figures: Figures) -> list[str]:
    return [
        f"{figures.insertion.mean:.3f} ± {figures.insertion.spread:.3f}",
        f"{figures.deletion.mean:.3f} ± {figures.deletion.spread:.3f}",
        f"{figures.road.mean:+.3f} ± {figures.road.spread:.3f}",
    ]


HEAD = ["Map", "Finds its photo of four", "Insertion", "Deletion", "ROAD", "Like the map of shuffled weights"]
MEASURED = """Measured by `python -m tools.real_photos` on {checkpoint} (float32), with {count} photos that Python
packages carry and that it classifies as a person does: {photos}. A few photos of a few classes show that the methods
work as they should; they are no benchmark."""
RULES = f"""It follows rules (explain/verdict.py):

1. A map that stays much the same when the weights are shuffled (rank correlation {verdict.ALIKE} or more, in the mean
   over the photos) shows the photo and not the model: no evidence, whatever else it does.
2. One photo decides nothing.
3. A measure is won if the map beats the control that does best on it, compared photo by photo (random maps with
   the mean of their draws). Pointing is won if more of the map lies on the right photo of four than the
   {100 * CHANCE:.0f} % of a map that does not depend on the class. The mean difference must be
   {verdict.LEAST} or more, and more than {verdict.ERRORS:g} of its standard errors:
   with five photos, chance alone wins that about one time in 17.
4. All four measures won: strong evidence. Three: some. One or two: weak. None: no evidence. A map that did not have to
   point, because there were no four classes or it asks for none, gives some evidence at most.
5. Fewer than {verdict.FEW} photos give weak evidence at most."""
TEXT = """# Can the maps be trusted?

{measured}

{table}

Figures are means ± the standard deviation over the {count} photos, of the random control over the {count} photos and
{draws} maps for each.

- **Finds its photo of four**: {mosaics} images, each of four photos of four classes at half their size, in a random
  order (seed 0): every choice of four that there is. In each, all four classes are asked for. The figure is how often
  the map for a class holds more of its positive mass on that class's photo than on any other. A map that does not
  depend on the class is right {chance:.0f} % of the time, whatever it shows.
- **Insertion** (higher is better): area under the probability of the class while pixels come back from a blur, those
  that the map calls important first. **Deletion** (lower is better): the same while they are painted grey. 20 steps;
  Petsiuk et al. 2018, arXiv:1806.07421.
- **ROAD** (higher is better; 0, in the mean over many, for maps that know nothing): how much more the class loses with
  the most important pixels than with the least important ones, each filled in from around it. Rong et al. 2022,
  arXiv:2202.00449.
- **Like the map of shuffled weights**: rank correlation of a map with that of the same model after the values of each
  of its parameters were shuffled; near 1, the map shows the photo and not the model. Adebayo et al. 2018,
  arXiv:1810.03292.
- Integrated gradients: 32 steps. Eigen-CAM asks for no class, so it can't find one of four. Insertion, deletion and
  ROAD say that a map finds the subject, and only pointing says that it finds the class.
- The controls know nothing of the model: noise on a 7x7 grid, {draws} maps for each photo, all different; a Gaussian in
  the centre, where most photos have their subject; and the photo's edges.

## The verdict

The page says in one sentence what an evaluation is worth. On these photos:

{verdicts}

{rules}

The rules would rather miss evidence than see some where there is none: with few photos, a real difference is often
smaller than twice its error. For pointing they take the share of the mass in one image of four photos, where the table
counts hits in {mosaics}. The measures are not independent of each other: a map that finds the subject does well on
insertion, deletion and ROAD alike. And evidence is for these photos and this model, not for a method in general.
"""


def report(photos: list[Known], found: list[Evaluation], lines: list[list[str]]) -> str:
    names = labels.names("in1k")
    shown = ", ".join(f"{photo.name} ({names[photo.target]})" for photo in photos)
    verdicts = [textwrap.fill(f"- {judge(one).sentence}", 120, subsequent_indent="  ") for one in found]
    return TEXT.format(
        measured=textwrap.fill(MEASURED.format(checkpoint=CHECKPOINT, count=len(photos), photos=shown), 120),
        count=len(photos),
        draws=DRAWS,
        chance=100 * CHANCE,
        mosaics=len(list(fours(photos))),
        table="\n".join(f"| {' | '.join(cells)} |" for cells in lines),
        verdicts="\n".join(verdicts),
        rules=RULES,
    )


def main() -> None:
    row, model = zoo.checkpoint(CHECKPOINT), zoo.load(CHECKPOINT)
    photos = list(known(model, row))
    missing = [file for file in PHOTOS if path(file) is None]
    if missing:
        raise SystemExit(f"Not here: {', '.join(missing)}. Install scikit-image and scikit-learn.")
    found = list(evaluations(model, photos))
    lines = [HEAD, ["---", *["--:"] * 5], *table(model, photos, found)]
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(report(photos, found, lines))


if __name__ == "__main__":
    main()
