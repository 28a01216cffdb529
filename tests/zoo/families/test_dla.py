"""What goldens and the contract cannot see of DLA."""

import pytest
import torch

from tests.models import on_meta


def test_projections_that_no_pass_reads_are_dropped():
    """The authors' files have one in every tree; only trees of two blocks read it."""
    model = on_meta("dla169")
    idle = [f"level4{'.tree1' * depth}.project.0.weight" for depth in range(4)]
    state = model.state_dict()
    assert "level4.tree1.tree1.tree1.tree1.project.0.weight" in state
    assert model.adapt(state | dict.fromkeys(idle, torch.zeros(1))) == state


@pytest.mark.parametrize(("name", "least"), [("dla46_c", 63), ("hrnet_w18_small", 61)])
def test_a_side_whose_halves_would_not_meet_is_refused(name, least):
    model = on_meta(name)
    for side in (least, 64):
        assert model(torch.empty(1, 3, 96, side, device="meta")).shape == (1, 1000)
    for size in ((96, least - 1), (65, 96)):
        with pytest.raises(ValueError, match=r"grid cannot be divided by .*: use image sides that are multiples of 32"):
            model(torch.empty(1, 3, *size, device="meta"))
