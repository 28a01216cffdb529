"""Bilinear attention: what is shown is what was computed."""

import torch

from tools.fill import fill
from zoo.families.resnet_ts import Bilinear
from zoo.probe import probe, whole


def test_the_shown_weights_rebuild_what_was_computed():
    """Every position reads 64, whose weights sum to 1; together the records of both groups give the output."""
    layer = Bilinear(6).double().eval()
    layer.load_state_dict(fill(layer.state_dict()))
    x = torch.randn(2, 6, 16, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), probe(attention=whole) as seen:
        y = layer(x)
        weights = seen.attention[0].dense(1)  # (groups, N, N)
        assert ((weights > 0).sum(2) == 64).all()
        torch.testing.assert_close(weights.sum(2), torch.ones(2, 16 * 24, dtype=torch.float64))
        read = weights @ x[1].view(2, 3, -1).transpose(1, 2)  # (groups, N, C / groups)
        torch.testing.assert_close(layer.conv2(read.transpose(1, 2).reshape(1, 6, 16, 24)), y[1:])
        assert not weights[:, 0, 1:3].any() and weights[:, 0, 3].all()  # the next block of columns begins at the fourth
