"""The zoo beside timm itself, on weights that no golden has seen. `pytest -m oracle`; skipped where timm is missing."""

import pytest
import torch

import zoo
from tests.test_families import GOLDENS, lightest
from tools.filled import picture

oracle = pytest.importorskip("tools.oracle", exc_type=ImportError)
pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("name", lightest(2))
def test_equal_to_timm(name):
    row = GOLDENS[name]
    theirs, weights = oracle.filled_reference(name, salt="oracle")
    ours = zoo.create_from(name, weights)
    x = picture(2, int(row["height"]), int(row["width"]))
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-9, atol=1e-9)
