"""Every variant against the reference: names, keys and shapes, and the figures it computes in float64."""

import csv
import json
from pathlib import Path

import pytest
import torch

import zoo
from tools.filled import fill, picture, signature

GOLDENS = {
    row["name"]: row | {"file": file.stem}
    for file in sorted((Path(__file__).parent / "goldens").glob("*.tsv"))
    for row in csv.DictReader(file.read_text().splitlines(), delimiter="\t")
}
OWN = [name for name in zoo.names() if name.endswith("_cifar")]  # this project's sizes, which no reference has


def lightest(count: int) -> list[str]:
    """The variants of each family file that are quickest to compute, of those that are quick at all."""
    files: dict[str, list[str]] = {}
    for name, row in GOLDENS.items():
        if int(row["parameters"]) < 40e6 and int(row["height"]) < 400:
            files.setdefault(row["file"], []).append(name)

    def work(name: str) -> int:
        row = GOLDENS[name]
        return int(row["parameters"]) * int(row["height"]) * int(row["width"])

    return [name for names in files.values() for name in sorted(names, key=work)[:count]]


def test_every_variant_has_a_golden():
    assert sorted([*GOLDENS, *OWN]) == zoo.names()


@pytest.mark.parametrize("name", GOLDENS)
def test_keys_and_shapes(name):
    row = GOLDENS[name]
    with torch.device("meta"):
        model = zoo.create(name)
    assert signature(model.state_dict()) == row["keys"]
    assert sum(p.numel() for p in model.parameters()) == int(row["parameters"])


@pytest.mark.parametrize("name", GOLDENS)
def test_outputs_in_float64(name):
    row = GOLDENS[name]
    cut = json.loads(row["cut"] or "{}")
    with torch.device("meta"):
        keys = zoo.create(name, **cut).state_dict()
    model = zoo.create_from(name, fill(keys), **cut)
    with torch.inference_mode():
        y = model(picture(1, int(row["height"]), int(row["width"])))
    figures = torch.stack([y.mean(), y.std(), y.flatten()[0], y.flatten()[-1]])
    expected = torch.tensor([float(row[k]) for k in ("mean", "std", "first", "last")], dtype=torch.float64)
    torch.testing.assert_close(figures, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", OWN)
def test_own_variants_run_at_their_size(name):
    model = zoo.create(name)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_cifar_resnet_has_the_papers_parameters():
    assert sum(p.numel() for p in zoo.create("resnet32_cifar").parameters()) == 464_154
