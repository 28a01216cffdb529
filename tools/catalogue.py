"""Write zoo/checkpoints.tsv and zoo/accuracy.tsv from the references' own data.

    python -m tools.catalogue accuracy.csv

accuracy.csv holds one line per checkpoint and image size: checkpoint, img_size, imagenet_top1, imagenet_top5, and the
same two for real, v2, a, r and sketch. Without it, accuracy.tsv is not changed. A cell equal to its column's default is
blank. The rows of an architecture are adjacent, its default checkpoint first.
"""

import csv
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tools.oracle import timm
from zoo.catalogue import DEFAULTS, NO_LABELS, NORMS, ZOO, Accuracy
from zoo.labels import COUNTS

MODELS: Any = timm.models  # type: ignore[attr-defined]
COLUMNS = (
    *("name", "size", "crop", "mode", "interpolation", "norm", "labels", "classes"),
    *("test_size", "test_crop", "license", "source"),
)
PAIRS = [f"{name}_top{k}" for name in Accuracy.__dataclass_fields__ for k in (1, 5)]
LABELS = {count: name for name, count in COUNTS.items()}
UNLABELLED = {"resmlp_12_224.fb_dino", "resmlp_24_224.fb_dino"}  # 1,000 outputs that are not classes
# Checkpoints of the fastervit package and torchvision, which timm does not have.
FASTERVIT = "https://huggingface.co/ahatamiz/FasterViT/resolve/main/fastervit_{}.pth.tar"
TORCHVISION = "https://download.pytorch.org/models/{}.pth"
OTHERS = (  # name, size, crop, mode, interpolation, license, source
    *(
        (f"faster_vit_{i}_224.nv_in1k", 224, 1.0 if i else 0.875, "center", "bicubic", "nvidia", f"{i}_224_1k")
        for i in range(7)
    ),
    ("faster_vit_4_21k_224.nv_in21k_ft_in1k", 224, 0.95, "squash", "bicubic", "nvidia", "4_21k_224_w14"),
    ("faster_vit_4_21k_384.nv_in21k_ft_in1k", 384, 1.0, "squash", "bicubic", "nvidia", "4_21k_384_w24"),
    ("faster_vit_4_21k_512.nv_in21k_ft_in1k", 512, 1.0, "squash", "bicubic", "nvidia", "4_21k_512_w32"),
    ("faster_vit_4_21k_768.nv_in21k_ft_in1k", 768, 0.93, "squash", "bicubic", "nvidia", "4_21k_768_w48"),
    ("squeezenet1_0.tv_in1k", 224, 0.875, "center", "bilinear", "bsd-3-clause", "squeezenet1_0-b66bff10"),
    ("squeezenet1_1.tv_in1k", 224, 0.875, "center", "bilinear", "bsd-3-clause", "squeezenet1_1-b8a52dc0"),
)

FIGURES = {  # top-1 and top-5 that torchvision and FasterViT's authors publish: on ImageNet, then on V2, A and R
    "faster_vit_0_224.nv_in1k": (224, (82.1, 95.9), (70.9, 90.0), (23.9, 57.6), (45.9, 60.4)),
    "faster_vit_1_224.nv_in1k": (224, (83.2, 96.5), (72.6, 91.0), (31.2, 63.3), (47.5, 61.9)),
    "faster_vit_2_224.nv_in1k": (224, (84.2, 96.8), (73.7, 91.6), (38.2, 68.9), (49.6, 63.4)),
    "faster_vit_3_224.nv_in1k": (224, (84.9, 97.2), (75.0, 92.2), (44.2, 73.0), (51.9, 65.6)),
    "faster_vit_4_224.nv_in1k": (224, (85.4, 97.3), (75.7, 92.7), (49.0, 75.4), (56.0, 69.6)),
    "faster_vit_5_224.nv_in1k": (224, (85.6, 97.4), (76.0, 93.0), (52.7, 77.6), (56.9, 70.0)),
    "faster_vit_6_224.nv_in1k": (224, (85.8, 97.4), (76.1, 93.0), (53.7, 78.4), (57.1, 70.1)),
    "faster_vit_4_21k_224.nv_in21k_ft_in1k": (224, (86.6, 97.8)),
    "faster_vit_4_21k_384.nv_in21k_ft_in1k": (384, (87.6, 98.3)),
    "faster_vit_4_21k_512.nv_in21k_ft_in1k": (512, (87.8, 98.4)),
    "faster_vit_4_21k_768.nv_in21k_ft_in1k": (768, (87.9, 98.5)),
    "squeezenet1_0.tv_in1k": (224, (58.092, 80.420)),
    "squeezenet1_1.tv_in1k": (224, (58.178, 80.624)),
}


def published() -> Iterator[str]:
    """Names of timm's checkpoints: architectures in timm's order, each with its default checkpoint first."""
    offered = set(MODELS.list_pretrained())
    for architecture in MODELS.list_models():
        for tag in MODELS._registry._model_default_cfgs[architecture].tags:
            if f"{architecture}.{tag}" in offered:
                yield f"{architecture}.{tag}"


def row(name: str) -> dict[str, str]:
    """The row of one of timm's checkpoints."""
    cfg = MODELS.get_pretrained_cfg(name)
    labels = NO_LABELS if name in UNLABELLED else LABELS.get(cfg.num_classes, NO_LABELS)
    source = cfg.hf_hub_id or cfg.url
    return {
        "name": name,
        "size": side(cfg.input_size),
        "crop": number(cfg.crop_pct),
        "mode": cfg.crop_mode,
        "interpolation": cfg.interpolation,
        "norm": next(k for k, v in NORMS.items() if v == (tuple(cfg.mean), tuple(cfg.std))),
        "labels": labels,
        "classes": str(cfg.num_classes) if labels == NO_LABELS else "",
        "test_size": side(cfg.test_input_size) if cfg.test_input_size else "",
        "test_crop": number(cfg.test_crop_pct) if cfg.test_crop_pct else "",
        "license": cfg.license or "unstated",
        "source": "" if source == f"timm/{name}" else source,
    }


def other(name: str, size: int, crop: float, mode: str, interpolation: str, terms: str, file: str) -> dict[str, str]:
    nvidia = terms == "nvidia"
    return {
        "name": name,
        "size": str(size),
        "crop": number(crop),
        "mode": mode,
        "interpolation": interpolation,
        "license": "nvidia-source-code-license-nc" if nvidia else terms,
        "source": (FASTERVIT if nvidia else TORCHVISION).format(file),
    }


def side(size: tuple[int, int, int]) -> str:
    _, height, width = size
    return str(height) if height == width else f"{height}x{width}"


def number(value: float) -> str:
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def lean(cells: dict[str, str]) -> dict[str, str]:
    """Leave out default values, and a test size or crop equal to the plain one."""
    kept = {k: v for k, v in cells.items() if DEFAULTS.get(k) != v}
    return {k: v for k, v in kept.items() if not (k.startswith("test_") and v == cells[k.removeprefix("test_")])}


def write(file: Path, columns: Iterable[str], rows: Iterable[dict[str, str]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as lines:
        table = csv.DictWriter(lines, list(columns), delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE)
        table.writeheader()
        table.writerows(rows)


def figures(file: Path) -> Iterator[dict[str, str]]:
    """The rows of accuracy.csv for checkpoints with classes, in the order of the catalogue, then those of FIGURES."""
    with file.open(newline="") as lines:
        found = [r for r in csv.DictReader(lines) if r["checkpoint"] not in UNLABELLED]
    place = {name: i for i, name in enumerate(published())}
    for r in sorted(found, key=lambda r: (place[r["checkpoint"]], int(r["img_size"]))):
        yield {"name": r["checkpoint"], "size": r["img_size"]} | {k: r[k] for k in PAIRS}
    for name, (size, *pairs) in FIGURES.items():
        row = {"name": name, "size": str(size)}
        for images, pair in zip(("imagenet", "v2", "a", "r"), pairs, strict=False):
            row |= {f"{images}_top{k}": f"{value:.3f}" for k, value in zip((1, 5), pair, strict=True)}
        yield row


def main(accuracy: list[str]) -> None:
    rows = [*map(row, published()), *(other(*cells) for cells in OTHERS)]
    write(ZOO / "checkpoints.tsv", COLUMNS, map(lean, rows))
    if accuracy:
        write(ZOO / "accuracy.tsv", ("name", "size", *PAIRS), figures(Path(accuracy[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
