"""Tables that are kept: not those that torch.export makes, which have no values."""

import torch

from zoo.layers.kept import kept

MADE = []


@kept(2)
def table(length: int) -> torch.Tensor:
    MADE.append(length)
    return torch.arange(length, dtype=torch.float32)


class Adds(torch.nn.Module):
    def forward(self, x):
        return x + table(4)


def test_a_model_can_be_used_after_it_was_exported_first():
    torch.export.export(Adds(), (torch.ones(4),), strict=False)
    assert Adds()(torch.zeros(4)).tolist() == [0, 1, 2, 3]


def test_a_table_is_made_once_and_serves_training_after_inference():
    with torch.inference_mode():
        first = table(3)
    assert table(3) is first and not first.is_inference()
    assert MADE.count(3) == 1
