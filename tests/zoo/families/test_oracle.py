"""The zoo beside timm itself, on weights that no golden has seen. `pytest -m oracle`; skipped where timm is missing.

Where timm resizes a position table, the image is half as wide again as the table: that tells height from width. No
golden does so, for the resize is in float32, and two machines may round it differently.
"""

from inspect import signature

import pytest
import torch

import zoo
from tests.models import lightest_first
from tools import golden_file
from tools.fill import picture
from zoo.registry import source

oracle = pytest.importorskip("tools.oracle", exc_type=ImportError)
pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("name", [name for family in golden_file.families() for name in lightest_first(family)[:2]])
def test_equal_to_timm(name):
    golden = golden_file.read(source(name).stem)
    whole = oracle.reference(name)
    height, width = golden.size(name) or whole.pretrained_cfg["input_size"][1:]
    theirs, ours = golden.cut(name) or ({}, {})
    theirs, ours = theirs | golden.fitted(name), ours | golden.fitted(name)
    resizes = "dynamic_img_size" in signature(type(whole)).parameters and getattr(whole, "pos_embed", None) is not None
    if resizes and getattr(whole, "rope", None) is None:  # tests/zoo/layers/test_rotary.py has those that turn
        theirs, width = theirs | {"dynamic_img_size": True}, 3 * width // 2
    reference, weights = oracle.filled_reference(name, salt="oracle", gain=golden.gain, **theirs)
    model, x = zoo.create_from(name, weights, **golden_file.arguments(ours, name)), picture(2, height, width)
    with torch.inference_mode():
        torch.testing.assert_close(model(x), reference(x), rtol=1e-9, atol=1e-9)
