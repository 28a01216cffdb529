"""Write zoo/costs.tsv: what one image costs each model, counted by zoo/cost.py.

python -m tools.costs          # counts what the table lacks
python -m tools.costs --all    # counts all of them again: some minutes

A new family's lines are added by the first.
"""

import argparse
import csv

from tqdm import tqdm

import zoo
from zoo.catalogue import COSTS, Figures, Priced, figures


def priced() -> list[Priced]:
    """Every architecture at its own size, and with the size and classes of each of its checkpoints, by name."""
    found: dict[Priced, None] = {}
    for name in zoo.names():
        found[zoo.native(name)] = None
        found |= {(name, *row.size, row.num_classes): None for row in zoo.for_architecture(name)}
    return list(found)


def counted(name: str, height: int, width: int, classes: int) -> Figures:
    return zoo.cost(name, (height, width), classes).figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--all", action="store_true", help="count every architecture again")
    known = {} if parser.parse_args().all else figures()
    rows = {model: known.get(model) or counted(*model) for model in tqdm(priced())}
    with COSTS.open("w", encoding="utf-8", newline="") as lines:
        table = csv.writer(lines, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE)
        table.writerow(["name", "height", "width", "classes", *Figures._fields])
        table.writerows([*model, *row] for model, row in rows.items())


if __name__ == "__main__":
    main()
