"""Every variant against the reference: names, keys and shapes, and outputs in float64."""

import json

import pytest
import torch

import zoo
from tests.models import GOLDENS, build, on_meta
from tools import golden_file
from tools.fill import noise_image, signature, start

# This project's own variants, which the reference does not have.
OWN = [name for name in zoo.names() if name.endswith("_cifar")]


def test_every_variant_has_a_golden():
    assert sorted([*GOLDENS, *OWN]) == zoo.names()


@pytest.mark.parametrize("name", GOLDENS)
def test_keys_and_shapes(name):
    row = GOLDENS[name]
    model = on_meta(name)
    assert signature(model.state_dict()) == row["keys"]
    assert sum(p.numel() for p in model.parameters()) == int(row["parameters"])
    # Two weights of one shape whose noise began at the same place would be equal, and a swap would not be noticed.
    # Variances are filled in another way.
    weights = [(k, v.shape) for k, v in model.state_dict().items() if v.is_floating_point()]
    filled = [(start(k), shape, k.endswith("running_var")) for k, shape in weights]
    assert len(filled) == len(set(filled))


@pytest.mark.parametrize("name", GOLDENS)
def test_outputs_in_float64(name):
    row = GOLDENS[name]
    cut = golden_file.arguments(json.loads(row["cut"] or "{}"), name)
    model = build(name, **cut)
    with torch.inference_mode():
        y = model(noise_image(1, int(row["height"]), int(row["width"])))
    figures = torch.stack([y.mean(), y.std(), y.flatten()[0], y.flatten()[-1]])
    expected = torch.tensor([float(row[k]) for k in ("mean", "std", "first", "last")], dtype=torch.float64)
    torch.testing.assert_close(figures, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", OWN)
def test_own_variants_run_at_their_size(name):
    model = zoo.create(name)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_cifar_resnet_has_the_papers_parameters():
    assert sum(p.numel() for p in zoo.create("resnet32_cifar").parameters()) == 464_154
