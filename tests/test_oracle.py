"""The zoo beside timm itself, on weights that no golden has seen. `pytest -m oracle`; skipped where timm is missing."""

import pytest
import torch

import zoo
from tests.test_families import GOLDENS
from tools.filled import picture

oracle = pytest.importorskip("tools.oracle", exc_type=ImportError)
pytestmark = pytest.mark.oracle


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


@pytest.mark.parametrize("name", lightest(2))
def test_equal_to_timm(name):
    row = GOLDENS[name]
    theirs, weights = oracle.filled_reference(name, salt="oracle")
    ours = zoo.create_from(name, weights)
    x = picture(2, int(row["height"]), int(row["width"]))
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-9, atol=1e-9)
