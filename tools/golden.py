"""Record what the reference says of a family's variants, small enough to commit.

    python -m tools.golden swin        writes tests/goldens/swin.tsv

A row a variant: digest of keys and shapes, parameters, and four figures of the logits in float64 for a noise picture
and weights filled by key (tools/filled.py). Variants over LIMIT parameters are recorded cut down, the same way on both
sides: `cut` holds the fields that the test passes to `zoo.create`.
"""

import csv
import importlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tools.filled import picture, signature
from tools.oracle import filled_reference, reference

LIMIT = 40e6
GOLDENS = Path(__file__).parent.parent / "tests" / "goldens"
COLUMNS = ("name", "keys", "parameters", "cut", "height", "width", "mean", "std", "first", "last")


@dataclass(frozen=True)
class Plan:
    """How a family is recorded."""

    cut: dict[str, Any] = field(default_factory=dict)  # the reference's arguments that make a giant small
    own_cut: dict[str, Any] | None = None  # ours, if they are called otherwise
    size: tuple[int, int] | None = None  # picture; None: the variant's own size


# Families that take any picture are shown one that is not square: it tells H from W.
RESNET = Plan({"layers": [1, 1, 2, 1]}, {"depths": [1, 1, 2, 1]}, size=(64, 96))
PLANS = {  # by family file, or by architecture where one of a file is unlike the others
    "convnext": Plan({"depths": [1, 1, 2, 1]}, size=(64, 96)),
    "mlp_mixer": Plan({"mlp_ratio": [0.25, 0.5]}),
    "mobilenet_v2": Plan(size=(64, 96)),
    "eca_resnet": RESNET,
    "resnet": RESNET,
    "resnet_aa": RESNET,
    "resnet_rs": RESNET,
    "resnext": RESNET,
    "se_resnet": RESNET,
    "swin": Plan({"depths": [2, 2, 2, 2]}),
    "swin_s3": Plan({"depths": [2, 2, 2, 2]}),
    "clip": Plan({"depth": 2}),
    "clip_resnet": Plan({"width_factor": 0.25}, {"width": 0.25}, size=(64, 96)),
    "dinov2": Plan({"depth": 2}),
    "flexivit": Plan({"depth": 2}),
    "siglip": Plan({"depth": 2}),
    "siglip2": Plan({"depth": 2}),
    "tinyclip": Plan({"depth": 2}),
    "vit": Plan({"depth": 2}),
    "deit": Plan({"depth": 2}),
    "vit_blocks": Plan({"depth": 2}),
    "vit_sbb": Plan({"depth": 2}),
    "eva": Plan({"depth": 2}),
    "eva02": Plan({"depth": 2}),
    "rope_vit": Plan({"depth": 2}),
    "pe": Plan({"depth": 2}),
    "dinov3": Plan({"depth": 2}),
    "naflexvit": Plan({"depth": 2}, size=(64, 96)),
    "vitamin": Plan({"depth": 2}),
    "beit": Plan({"depth": 2}),
    "beit_v2": Plan({"depth": 2}),
    "beit3": Plan({"depth": 2}),
    "cait": Plan({"depth": 2}),
    "fastvit": Plan({"layers": [1, 1, 2, 1]}, {"depths": [1, 1, 2, 1]}, size=(64, 96)),
    "mobileclip": Plan({"layers": [1] * 5}, {"depths": [1] * 5}, size=(64, 96)),
    "vit_base_mci_224": Plan({"depth": 2}),
}


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def record(name: str, plan: Plan) -> list[str]:
    whole = reference(name)
    giant = count(whole) > LIMIT
    cut = (plan.cut if plan.own_cut is None else plan.own_cut) if giant else {}
    height, width = plan.size or whole.pretrained_cfg["input_size"][1:]
    model, _ = filled_reference(name, **(plan.cut if giant else {}))
    with torch.inference_mode():
        y = model(picture(1, height, width))
    figures = (f"{v:.15g}" for v in (y.mean(), y.std(), y.flatten()[0], y.flatten()[-1]))
    facts = signature(whole.state_dict()), str(count(whole)), json.dumps(cut) if cut else ""
    return [name, *facts, str(height), str(width), *figures]


def main(families: list[str]) -> None:
    for family in families:
        variants = importlib.import_module(f"zoo.families.{family}").VARIANTS
        GOLDENS.mkdir(exist_ok=True)
        with (GOLDENS / f"{family}.tsv").open("w", newline="") as file:
            table = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
            table.writerow(COLUMNS)
            for name in variants:
                if name.endswith("_cifar"):  # this project's own sizes: the reference has none
                    continue
                table.writerow(record(name, PLANS.get(name, PLANS[family])))
                print(name, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
