"""Put a trained model into zoo/bundled: save it in half precision, measure the saved file, and record the figures.

The record is zoo/bundled/bundled.tsv; the table in zoo/bundled/README.md is generated from it, and SHA256SUMS guards
the files.
"""

import csv
import hashlib
import math
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import trange

from explain import explain
from explain.faithfulness import centre_map, mosaic, random_map, share_in_quadrant
from tools.cifar import accuracy, normalize
from zoo.base import Backbone
from zoo.catalogue import BUNDLED
from zoo.cells import Cells
from zoo.registry import create_from

MOSAICS, BATCH = 400, 50
README, TABLE = BUNDLED / "README.md", BUNDLED / "bundled.tsv"
# Columns of bundled.tsv that the README shows -> their headings there.
SHOWN = {
    "name": "checkpoint",
    "parameters": "parameters",
    "run": "run",
    "recipe": "recipe",
    "epochs": "epochs",
    "device": "device",
    "seed": "seed",
    "top1": "top-1 %",
    "test_photos": "test photos",
    "grad_cam": "Grad-CAM finds one of four, %",
    "random": "random map",
    "centre": "centre map",
}


def export(name: str, state: dict[str, Tensor], facts: dict[str, Any], x: Tensor, y: Tensor) -> None:
    """Save weights, measure the file on test photos uint8 (N, 32, 32, 3), and record the figures with `facts`."""
    file = BUNDLED / f"{name}.cifar10.safetensors"
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    save_file({k: v.contiguous().cpu() for k, v in half.items()}, file)
    weights = {k: v.float() if v.is_floating_point() else v for k, v in load_file(file).items()}
    model = create_from(name, weights).requires_grad_(False).to(x.device)
    measured = {
        "top1": f"{accuracy(model, x, y):.2f}",
        "parameters": sum(p.numel() for p in model.parameters()),
        "bytes": file.stat().st_size,
        "test_photos": len(y),
        **{key: f"{share:.1f}" for key, share in pointing(model, x, y).items()},
    }
    print(measured)
    record({key: str(value) for key, value in ({"name": file.stem} | facts | measured).items()})


def pointing(model: Backbone, x: Tensor, y: Tensor) -> dict[str, float]:
    """Percentage of mosaics of test photos of four classes in which a map for one class is strongest on its photo.

    A map is strongest on the quarter that holds the most of its positive mass; a tie of n quarters counts 1/n. Grad-CAM
    is compared with maps that know nothing about the model.
    """
    rng = torch.Generator().manual_seed(0)
    found = {"grad_cam": 0.0, "random": 0.0, "centre": 0.0}
    for _ in trange(MOSAICS // BATCH, desc=f"mosaics of {BATCH}"):
        fours = [pick_four(y.cpu(), rng) for _ in range(BATCH)]
        right = torch.randint(4, (BATCH,), generator=rng).tolist()
        images = torch.stack([mosaic(list(normalize(x[four]))) for four in fours])
        targets = [int(y[four[quarter]]) for four, quarter in zip(fours, right, strict=True)]
        seeds = torch.randint(2**31, (BATCH,), generator=rng).tolist()
        mapped, size = explain(model, images, "grad_cam", target=targets), (images.shape[2], images.shape[3])
        maps = {
            "grad_cam": mapped.raw,
            "random": [random_map(image, seed) for image, seed in zip(images, seeds, strict=True)],
            "centre": [centre_map(image) for image in images],
        }
        for name, heats in maps.items():
            cells = mapped.places(size) if name == "grad_cam" else Cells.even(size, size)
            found[name] += sum(hit(heat, quarter, cells, size) for heat, quarter in zip(heats, right, strict=True))
    return {name: 100 * hits / MOSAICS for name, hits in found.items()}


def pick_four(y: Tensor, rng: torch.Generator) -> Tensor:
    """Indices of four photos of four different classes."""
    order = torch.randperm(len(y), generator=rng)[:200]
    _, first = np.unique(y[order].numpy(), return_index=True)
    return order[first][torch.randperm(len(first), generator=rng)[:4]]


def hit(heat: Tensor, quarter: int, cells: Cells, size: tuple[int, int]) -> float:
    """1 if a quarter holds the most of a map's mass, 1/n if n quarters tie for the most, otherwise 0."""
    shares = [share_in_quadrant(heat, q, cells, size) for q in range(4)]
    most = [math.isclose(share, max(shares), rel_tol=1e-6) for share in shares]
    return most[quarter] / sum(most)


def records() -> dict[str, dict[str, str]]:
    """The rows of bundled.tsv by checkpoint."""
    with TABLE.open(newline="") as lines:
        return {row["name"]: row for row in csv.DictReader(lines, delimiter="\t")}


def record(facts: dict[str, str]) -> None:
    """Write a checkpoint to bundled.tsv, to the README's table, and to SHA256SUMS."""
    rows = records() | {facts["name"]: facts}
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    with TABLE.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, columns, delimiter="\t", lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(rows.values())
    sums = ((hashlib.sha256(f.read_bytes()).hexdigest(), f.name) for f in sorted(BUNDLED.glob("*.safetensors")))
    (BUNDLED / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for digest, name in sums))
    text = README.read_text()
    head = text[: text.index("| checkpoint |")]
    lines = [
        list(SHOWN.values()),
        ["---"] * len(SHOWN),
        *([row.get(key, "") for key in SHOWN] for row in rows.values()),
    ]
    README.write_text(head + "".join(f"| {' | '.join(cells)} |\n" for cells in lines))
