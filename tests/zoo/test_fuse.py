"""A fused model has the same outputs and the same maps."""

import pytest
import torch
from torch import nn

import explain
import zoo
from tests.models import build


def convolutions(model: nn.Module) -> int:
    return sum(isinstance(m, nn.Conv2d) for m in model.modules())


@pytest.mark.parametrize("name", ["fastvit_t8", "fastvit_sa12", "fastvit_mci0", "resnet18"])
def test_outputs_and_maps_do_not_change(name):
    model = build(name)
    for key, parameter in model.named_parameters():
        if key.endswith("gamma"):  # around 1, signals would grow with depth, and rounding errors with them
            parameter.data *= 0.1
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fused = zoo.fuse(model)
    x = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.inference_mode():
        expected, found = model(x), fused(x)
    scale = expected.std().item()
    torch.testing.assert_close(found / scale, expected / scale, rtol=1e-9, atol=1e-9)
    for method in ("grad_cam", "layer_cam", "saliency"):
        plain, folded = (explain.explain(m, x, method, target=3).raw for m in (model, fused))
        torch.testing.assert_close(folded / plain.std(), plain / plain.std(), rtol=1e-6, atol=1e-6)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(p.requires_grad for p in fused.parameters())


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("resnet50", 0),
        ("resnetaa50d", 0),
        ("seresnet50", 0),
        ("resnet50_clip", 0),
        ("mobilenetv2_100", 0),
        ("fastvit_t8", 0),
        ("fastvit_sa12", 2),  # before the attention of its last two blocks
        ("levit_128s", 2),  # before its two last layers
        ("levit_conv_128s", 2),
        ("efficientvit_b0", 0),
        ("resnet9_cifar", 3),  # after a max pool, which does not commute with a negative factor
    ],
)
def test_only_norms_that_cannot_be_folded_are_left(name, left):
    fused = zoo.fuse(zoo.create(name))
    assert sum(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in fused.modules()) == left


def test_fewer_convolutions_where_there_were_branches():
    model = zoo.create("fastvit_t8")
    assert convolutions(zoo.fuse(model)) < convolutions(model)


class Odd(zoo.Backbone):
    """Layers that can be folded, and layers that must not be."""

    num_classes, readout = 3, "mean"

    def __init__(self):
        super().__init__()
        self.alone = nn.BatchNorm2d(3)
        self.read_twice, self.read_twice_bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.shared, self.shared_bn = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.plain, self.plain_bn = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.linear, self.linear_bn = nn.Linear(4, 5, bias=False), nn.BatchNorm1d(5)
        self.fc, self.fc_bn = nn.Linear(5, 3), nn.BatchNorm1d(3, affine=False)

    def forward(self, x):
        x = self.read_twice(self.alone(x))
        x = self.read_twice_bn(x) + x
        x = self.shared_bn(self.shared(self.shared(x)))
        x = self.plain_bn(self.plain(x)).relu_()
        x = self.linear(x.flatten(2).transpose(1, 2))  # (B, N, 5)
        x = self.linear_bn(x.flatten(0, 1)).reshape_as(x)
        return self.fc_bn(self.fc(x.mean(1)))


def test_a_norm_is_folded_into_a_layer_only_if_nothing_else_reads_it():
    model = Odd().double().eval()
    generator = torch.Generator().manual_seed(0)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator, dtype=torch.float64) + 0.5)
    fused = zoo.fuse(model)
    left = {name for name, m in fused.named_modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)}
    assert left == {"alone", "read_twice_bn", "shared_bn"}
    x = torch.randn(2, 3, 8, 8, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(fused(x), model(x), rtol=1e-12, atol=1e-12)
