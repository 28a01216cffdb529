"""Record what the reference says of a family's variants, small enough to commit.

    python -m tools.golden swin        writes the table of tests/goldens/swin.tsv, and keeps its header

A row a variant: digest of keys and shapes, parameters, and four figures of the logits in float64 for an image of noise
and weights filled by key (tools/fill.py). The header says which image, and how a variant over LIMIT parameters is cut
down (tools/golden_file.py); `cut` holds the fields that the test passes to `zoo.create`. The lightest variant of a file
is recorded whole, at its own size.
"""

import csv
import importlib
import json
import sys
from typing import Any

import torch
from torch import nn

from tools.fill import picture, signature
from tools.golden_file import GOLDENS, Golden, read
from tools.oracle import filled_reference, reference

LIMIT = 12e6  # parameters
WHOLE_LIMIT = 100e6  # the same, for the lightest variant of a file: in float64, it and a copy have to fit into memory
COLUMNS = ("name", "keys", "parameters", "cut", "height", "width", "mean", "std", "first", "last")


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def work(whole: nn.Module) -> int:
    """About what a forward pass takes."""
    _, height, width = whole.pretrained_cfg["input_size"]
    return count(whole) * height * width


def record(name: str, whole: nn.Module, golden: Golden, lightest: bool) -> list[str]:
    theirs: dict[str, Any] = {}
    ours: dict[str, Any] = {}
    size = golden.size(name)
    if lightest:
        size = None
    elif fitted := golden.fitted(name):
        theirs, ours = dict(fitted), dict(fitted)
    if count(whole) > (WHOLE_LIMIT if lightest else LIMIT):
        cut = golden.cut(name)
        if cut is None:
            raise SystemExit(f"{name} has {count(whole)} parameters: say in a line `# cut:` what makes it small.")
        theirs, ours = theirs | cut[0], ours | cut[1]
    height, width = size or whole.pretrained_cfg["input_size"][1:]
    model, _ = filled_reference(name, gain=golden.gain, **theirs)
    with torch.inference_mode():
        y = model(picture(1, height, width))
    figures = (f"{v:.15g}" for v in (y.mean(), y.std(), y.flatten()[0], y.flatten()[-1]))
    facts = signature(whole.state_dict()), str(count(whole)), json.dumps(ours) if ours else ""
    return [name, *facts, str(height), str(width), *figures]


def main(families: list[str]) -> None:
    for family in families:
        golden = read(family)
        # Names that end in _cifar are this project's own sizes: the reference has none.
        names = [n for n in importlib.import_module(f"zoo.families.{family}").VARIANTS if not n.endswith("_cifar")]
        wholes = {name: reference(name) for name in names}
        lightest = min(names, key=lambda name: work(wholes[name]))
        rows = []
        for name in names:
            rows.append(record(name, wholes[name], golden, name == lightest))
            print(name, flush=True)
        with (GOLDENS / f"{family}.tsv").open("w", newline="") as file:
            file.writelines(f"{line}\n" for line in golden.header)
            table = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
            table.writerows([COLUMNS, *rows])


if __name__ == "__main__":
    main(sys.argv[1:])
