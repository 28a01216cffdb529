"""A captured graph computes ahead what no pixel affects, as far as there is room."""

import torch
from torch import Tensor, nn

from zoo.fast.capture import capture


class Table(nn.Module):
    """Adds a table that is made of weights, of a shape that the image sets."""

    def __init__(self, weights: int):
        super().__init__()
        self.weight, self.rest = nn.Parameter(torch.arange(8.0)), nn.Parameter(torch.zeros(weights))
        self.turned = nn.Parameter(torch.ones(8, 32))

    def forward(self, x: Tensor) -> Tensor:
        table = self.weight.expand(x.shape[-2], -1).clone()
        table[0] = 5.0
        x = x @ self.turned @ self.turned.t()
        return nn.functional.dropout(x + table.mul(2) + self.rest.sum(), 0.5, self.training)


def called(graph: torch.fx.GraphModule) -> list[str]:
    return [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]


def test_a_table_is_computed_once():
    model, x = Table(4096).eval(), torch.randn(2, 16, 8)
    graph = capture(model, x)
    assert set(called(graph)) == {"aten.matmul.default", "aten.add.Tensor"}
    assert torch.equal(graph(x), model(x))
    assert len(list(graph.parameters())) == 1  # what made the table is not kept


def test_a_table_that_is_large_beside_the_weights_is_computed_at_each_pass():
    model, x = Table(8).eval(), torch.randn(2, 16, 8)
    graph = capture(model, x)
    assert "aten.mul.Tensor" in called(graph) and "aten.sum.default" not in called(graph)
    assert "aten.t.default" not in called(graph)  # a view of a weight takes no room, although it comes after the table
    for _ in range(2):
        assert torch.equal(graph(x), model(x))
