"""Which checkpoints can be loaded and what is known about them, read from tables; torch is not imported here.

`checkpoints.tsv` holds the published checkpoints, `bundled/bundled.tsv` those that come with the zoo, `installed.tsv`
those in packages that requirements.txt asks for, `accuracy.tsv` the published accuracies, `throughput.tsv` published
speeds, `families.tsv` the papers, `costs.tsv` what each model costs. A blank cell means the default in `DEFAULTS`. The
order of the rows is the priority: an architecture's first checkpoint is its publisher's default.
"""

import csv
import difflib
import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from zoo.labels import COUNTS

ZOO = Path(__file__).parent
BUNDLED = ZOO / "bundled"
COSTS = ZOO / "costs.tsv"

RGB = tuple[float, float, float]
Pair = tuple[float, float]
GREY = 1 / (0.0167 * 255)
NORMS: dict[str, tuple[RGB, RGB]] = {  # mean and standard deviation of R, G, B in 0..1
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "grey": ((124 / 255, 117 / 255, 104 / 255), (GREY, GREY, GREY)),
    "satellite": ((0.43, 0.411, 0.296), (0.213, 0.156, 0.143)),
    "cifar": ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)),
}
NO_LABELS = "-"
PACKAGE = "package:"  # how a source begins that is a file in a package: package:NAME/PATH/IN/IT
DEFAULTS = {
    "size": "224",
    "crop": "0.875",
    "mode": "center",
    "interpolation": "bicubic",
    "norm": "imagenet",
    "labels": "in1k",
    "license": "apache-2.0",
}
_BUNDLED_DEFAULTS = {"size": "32", "crop": "1", "norm": "cifar", "labels": "cifar10", "source": "bundled"}


@dataclass(frozen=True)
class Family:
    """A paper and the architectures that implement it: a line of families.tsv."""

    name: str
    section: str  # the chapter that it belongs to
    paper: str  # arXiv ids separated by ", ", or a description where there is none
    year: int  # in which the paper first appeared
    paradigm: str  # what mixes the positions of an image: "convolution", "attention", ...
    use_case: str
    training: str  # how the published checkpoints were trained
    sentence: str  # the idea
    license: str  # of the reference code; "unstated" if it is not certain
    checkpoints: tuple[str, ...]  # globs: checkpoints of other families' architectures that belong to this paper
    architectures: tuple[str, ...]


@dataclass(frozen=True)
class Accuracy:
    """Published top-1 and top-5 in percent at one image size, None if missing: a line of accuracy.tsv."""

    imagenet: Pair | None
    real: Pair | None  # ImageNet's validation photos with reassessed labels, arXiv:2006.07159
    v2: Pair | None  # new photos collected in the same way, arXiv:1902.10811
    a: Pair | None  # natural photos that a ResNet-50 gets wrong, arXiv:1907.07174
    r: Pair | None  # renditions: paintings, toys, tattoos, arXiv:2006.16241
    sketch: Pair | None  # black and white sketches, arXiv:1905.13549


class Throughput(NamedTuple):
    """Published speed: a line of throughput.tsv."""

    images_per_second: int
    device: str  # and the batch
    paper: str  # arXiv id


class Figures(NamedTuple):
    """What one image costs a model: a line of costs.tsv. zoo.cost counts it, also at other sizes."""

    parameters: int
    macs: int  # multiply-adds of convolutions and matrix products
    activations: int  # numbers that these write

    @property
    def weight_bytes(self) -> int:
        """The parameters in float32."""
        return 4 * self.parameters


Priced = tuple[str, int, int, int]  # architecture, height and width of the image in pixels, number of classes


@dataclass(frozen=True)
class Checkpoint:
    """Weights by name, and how a photo must be prepared for them: a line of checkpoints.tsv."""

    name: str  # ARCHITECTURE.TAG
    size: tuple[int, int]  # height and width, in pixels, of the image that the model takes
    crop: float  # side of the crop / side of the resized photo
    mode: str  # "center": resize the short side, crop; "squash": resize both sides; "border": resize the long side, pad
    interpolation: str  # "bicubic" or "bilinear"
    mean: RGB
    std: RGB
    num_classes: int  # length of the output; 0: the pooled features
    labels: str | None  # the label set that names the classes; None: the outputs have no names
    license: str  # of the weights, as published; "unstated" if the publisher does not say
    source: str  # Hub id, URL, "bundled", or a file in a package
    test_size: tuple[int, int]  # size and crop at which the publisher evaluates it, often larger
    test_crop: float
    top1: float | None  # accuracy in percent at `size`: published, or measured for a bundled one

    @property
    def architecture(self) -> str:
        return self.name.partition(".")[0]

    @property
    def tag(self) -> str:
        return self.name.partition(".")[2]

    @property
    def family(self) -> Family | None:
        claimed = (f for f in all_families() if any(fnmatch.fnmatchcase(self.name, glob) for glob in f.checkpoints))
        return next(claimed, None) or family_of(self.architecture)

    @property
    def file(self) -> Path:
        """Where its weights are if they come with the zoo."""
        return BUNDLED / f"{self.name}.safetensors"

    @property
    def bundled(self) -> bool:
        """Whether its weights come with the zoo; False, too, if their file was deleted."""
        return self.source == "bundled" and self.file.is_file()

    @property
    def package(self) -> str | None:
        """The package on the Python index that holds its weights; None for weights that lie elsewhere."""
        packed = self.source.startswith(PACKAGE)
        return self.source.removeprefix(PACKAGE).partition("/")[0] if packed else None

    def at_test(self) -> "Checkpoint":
        """The same weights, with photos prepared as the publisher evaluates them."""
        return replace(self, size=self.test_size, crop=self.test_crop)


def checkpoints(pattern: str = "*") -> dict[str, Checkpoint]:
    """Every checkpoint whose name matches the glob pattern; the bundled ones first, then in the order of the tables."""
    return {name: row for name, row in _checkpoints().items() if fnmatch.fnmatchcase(name, pattern)}


def checkpoint(name: str) -> Checkpoint:
    """Look up one checkpoint; a KeyError suggests similar names."""
    if name not in _checkpoints():
        near = ", ".join(difflib.get_close_matches(name, _checkpoints(), 3))
        raise KeyError(f"There is no checkpoint {name!r}" + (f": similar names are {near}." if near else "."))
    return _checkpoints()[name]


def for_architecture(name: str) -> list[Checkpoint]:
    """Every checkpoint of an architecture, its publisher's default first; empty if none is published."""
    return list(_by_architecture().get(name, ()))


@cache
def all_families() -> list[Family]:
    """Every family, in the order of the table."""
    return [
        Family(
            **{k: row[k] for k in ("name", "section", "paper", "paradigm", "use_case", "training", "sentence")},
            year=int(row["year"]),
            license=row["license"] or "unstated",
            checkpoints=tuple(row["checkpoints"].split()),
            architectures=tuple(row["architectures"].split()),
        )
        for row in _rows(ZOO / "families.tsv")
    ]


@cache
def family_of(architecture: str) -> Family | None:
    """The family that an architecture belongs to."""
    return next((family for family in all_families() if architecture in family.architectures), None)


def accuracy(name: str) -> dict[int, Accuracy]:
    """Published accuracies of a checkpoint by image side in pixels; empty if there are none."""
    return dict(_accuracies().get(name, {}))


def throughput(name: str) -> Throughput | None:
    """Published speed of a checkpoint at its own size; None if its paper states none."""
    return _throughputs().get(name)


@cache
def _throughputs() -> dict[str, Throughput]:
    rows = _rows(ZOO / "throughput.tsv")
    return {row["name"]: Throughput(int(row["images_per_second"]), row["device"], row["paper"]) for row in rows}


@cache
def figures() -> dict[Priced, Figures]:
    """What every architecture costs at its own size, and with the size and classes of each of its checkpoints."""
    return {
        (row["name"], int(row["height"]), int(row["width"]), int(row["classes"])): Figures(
            int(row["parameters"]), int(row["macs"]), int(row["activations"])
        )
        for row in _rows(COSTS)
    }


def _rows(file: Path) -> Iterator[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)


@cache
def _checkpoints() -> dict[str, Checkpoint]:
    own = [_BUNDLED_DEFAULTS | row for row in _rows(BUNDLED / "bundled.tsv")]
    rows = *own, *_rows(ZOO / "checkpoints.tsv"), *_rows(ZOO / "installed.tsv")
    return {row["name"]: _checkpoint(row) for row in rows}


def _checkpoint(row: dict[str, str]) -> Checkpoint:
    cell = DEFAULTS | {k: v for k, v in row.items() if v}
    name, labels = cell["name"], cell["labels"]
    size, crop = _size(cell["size"]), float(cell["crop"])
    mean, std = NORMS[cell["norm"]]
    figures = _accuracies().get(name, {}).get(size[0])
    return Checkpoint(
        name=name,
        size=size,
        crop=crop,
        mode=cell["mode"],
        interpolation=cell["interpolation"],
        mean=mean,
        std=std,
        num_classes=int(cell["classes"]) if "classes" in cell else COUNTS[labels],
        labels=None if labels == NO_LABELS else labels,
        license=cell["license"],
        source=cell.get("source", f"timm/{name}"),
        test_size=_size(cell["test_size"]) if "test_size" in cell else size,
        test_crop=float(cell.get("test_crop", crop)),
        top1=float(cell["top1"]) if "top1" in cell else figures and figures.imagenet and figures.imagenet[0],
    )


def _size(text: str) -> tuple[int, int]:
    """Read "224" or "1024x768", height first."""
    height, _, width = text.partition("x")
    return int(height), int(width or height)


@cache
def _by_architecture() -> dict[str, list[Checkpoint]]:
    groups: dict[str, list[Checkpoint]] = {}
    for row in _checkpoints().values():
        groups.setdefault(row.architecture, []).append(row)
    return groups


@cache
def _accuracies() -> dict[str, dict[int, Accuracy]]:
    figures: dict[str, dict[int, Accuracy]] = {}
    for row in _rows(ZOO / "accuracy.tsv"):
        pairs = {k: _pair(row[f"{k}_top1"], row[f"{k}_top5"]) for k in Accuracy.__dataclass_fields__}
        figures.setdefault(row["name"], {})[int(row["size"])] = Accuracy(**pairs)
    return figures


def _pair(top1: str, top5: str) -> Pair | None:
    return (float(top1), float(top5)) if top1 else None
