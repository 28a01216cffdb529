"""Record the output of timm's evaluation transform for four noise images and every recipe of the catalogue.

    python -m tools.golden_preprocess

Each row is a recipe, named by the first checkpoint that uses it: which of its two sizes, and a digest for each image.
"""

import csv
import hashlib
import importlib
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from zoo.catalogue import Checkpoint, checkpoints

GOLDENS = Path(__file__).parent.parent / "tests" / "goldens" / "preprocess" / "digests.tsv"
SHAPES = ((500, 333), (333, 500), (224, 224), (641, 97))  # width, height


def noise_images() -> dict[str, Image.Image]:
    """Noise, which every resampling filter changes, from a generator whose stream is frozen."""
    noise = np.random.RandomState(0)
    return {f"{w}x{h}": Image.fromarray(noise.randint(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in SHAPES}


def recipes() -> dict[tuple[str, str], Checkpoint]:
    """Every distinct preprocessing: (checkpoint, "train" or "test") -> the checkpoint at that size."""
    found: dict[tuple, tuple[str, str]] = {}
    for name, published in checkpoints().items():
        for moment, c in (("train", published), ("test", published.at_test())):
            found.setdefault((c.size, c.crop, c.mode, c.interpolation, c.mean, c.std), (name, moment))
    every = checkpoints()
    return {key: every[key[0]].at_test() if key[1] == "test" else every[key[0]] for key in found.values()}


def digest(x: Tensor) -> str:
    return hashlib.sha256(x.contiguous().numpy().data).hexdigest()[:12]


def main() -> None:
    # Imported here, so that tests can use the rest without timm.
    create_transform = importlib.import_module("tools.oracle").timm.data.create_transform

    shown = noise_images()
    with GOLDENS.open("w", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(("name", "moment", *shown))
        for (name, moment), c in recipes().items():
            if c.bundled:  # this project's own: the reference does not have it
                continue
            transform = create_transform(
                input_size=(3, *c.size),
                crop_pct=c.crop,
                crop_mode=c.mode,
                interpolation=c.interpolation,
                mean=c.mean,
                std=c.std,
            )
            table.writerow((name, moment, *(digest(transform(image)) for image in shown.values())))


if __name__ == "__main__":
    main()
