"""Cells are drawn where they look, checked by arithmetic and by the influence of pixels on a cell."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import zoo
from tools.fill import fill
from zoo.cells import Axis, Cells
from zoo.follow import Follow
from zoo.probe import frozen_attention, frozen_norm, probe, tap


class Even(nn.Module):
    """Operations that move cells, with equal weights, so that a cell looks at the centre of what it reads."""

    def __init__(self, *steps):
        super().__init__()
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)
        return x


def conv(kernel: int, **options):
    weight = torch.ones(1, 1, kernel, kernel, dtype=torch.float64)
    return lambda x: F.conv2d(x, weight, **options)


STEPS = {
    "convolution": [conv(3, stride=2, padding=1)],
    "even kernel": [conv(4, stride=4)],
    "dilated": [conv(3, padding=2, dilation=2), conv(3, stride=2)],
    "padded by hand": [lambda x: F.pad(x, (0, 1, 0, 1)), conv(3, stride=2)],
    "padded channels": [lambda x: F.pad(x, (0, 0, 0, 0, 1, 2))[:, 1:2], conv(3, stride=2, padding=1)],
    "padded rows, channels last": [
        lambda x: F.pad(x.permute(0, 2, 3, 1), (0, 0, 0, 0, 1, 3)).permute(0, 3, 1, 2),
        conv(4, stride=4),
    ],
    "pools": [lambda x: F.avg_pool2d(x, 2), lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)],
    "every second": [conv(3, padding=1), lambda x: x[:, :, ::2, ::2]],
    "block by block": [
        lambda x: x.unflatten(3, (-1, 4)).unflatten(2, (-1, 4)).mean((3, 5)),
        conv(3, stride=2, padding=1),
    ],
    "adaptive": [lambda x: F.adaptive_avg_pool2d(x, (8, 12))],
    "enlarged": [conv(2, stride=2), lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")],
    "stretched": [
        lambda x: F.avg_pool2d(x, 2),
        lambda x: F.interpolate(x, (21, 31), mode="bilinear", align_corners=True),
    ],
    "two branches": [lambda x: conv(1)(F.avg_pool2d(x, 2)) + conv(3, stride=2, padding=1)(x) / 9],
    "mirrored border": [lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"), conv(3, stride=2)],
}


@pytest.mark.parametrize("name", STEPS)
def test_a_cell_looks_at_the_centre_of_what_it_reads(name):
    model = Even(*STEPS[name])
    x = torch.randn(1, 1, 32, 48, dtype=torch.float64, requires_grad=True)
    with Follow(x) as follow:
        y = model(x)
        cells = follow.of(y).regrid((y.shape[2], y.shape[3]))
    row, col = y.shape[2] // 2, y.shape[3] // 2
    (influence,) = torch.autograd.grad(y[0, 0, row, col], x)
    assert cells.shape == (y.shape[2], y.shape[3])
    expected = centroid(influence[0, 0])
    assert (cells.down.start + row * cells.down.step) == pytest.approx(expected[0])
    assert (cells.across.start + col * cells.across.step) == pytest.approx(expected[1])


def centroid(influence: Tensor) -> tuple[float, float]:
    share = influence / influence.sum()
    rows, cols = (torch.arange(n, dtype=share.dtype) + 0.5 for n in share.shape)
    return (share.sum(1) @ rows).item(), (share.sum(0) @ cols).item()


class OpenGates(TorchFunctionMode):
    """Hold every gate at one."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.sigmoid, Tensor.sigmoid):
            return torch.ones_like(args[0])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet18d",
        "resnetblur18",
        "resnet20_cifar",
        "convnext_atto_ols",
        "vit_tiny_patch16_224",
        "swin_tiny_patch4_window7_224",
        "hrnet_w18_small",
        "squeezenet1_1",
        "inception_v3",
    ],
)
def test_drawn_and_measured_place_agree_within_a_hundredth_of_the_side(name):
    """Measured by the energy of the centre cell's gradient, with gates and attention held fixed and random weights."""
    side, found = 224, []
    for salt in "abc":
        with torch.device("meta"):
            keys = zoo.create(name).state_dict()
        model = zoo.create_from(name, fill(keys, salt)).float().requires_grad_(False)
        x = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(ord(salt)), requires_grad=True)
        with probe(model, x, taps={"cam"}) as seen, frozen_attention(), frozen_norm(), OpenGates():
            model(x)
        cam, cells = seen.taps["cam"].as_map(), seen.taps["cam"].cells
        row, col = cam.shape[2] // 2, cam.shape[3] // 2
        signs = torch.randn(8, cam.shape[1], generator=torch.Generator().manual_seed(ord(salt)))
        energy = torch.zeros(side, side)
        for sign in signs:
            (gradient,) = torch.autograd.grad(sign @ cam[0, :, row, col], x, retain_graph=True)
            energy += gradient[0].square().sum(0)
        found.append(centroid(energy))
    down, across = (sum(axis) / len(found) for axis in zip(*found, strict=True))
    assert cells.down.start + row * cells.down.step == pytest.approx(down, abs=side / 100)
    assert cells.across.start + col * cells.across.step == pytest.approx(across, abs=side / 100)


def test_the_centre_of_a_resnet_is_where_its_influence_is():
    """An even tiling would draw the middle cell of 7 at pixel 112, but its receptive field is centred on pixel 96."""
    x = torch.zeros(1, 3, 224, 224)
    model, expected = zoo.create("resnet18"), Cells(Axis(7, 0.5, 32), Axis(7, 0.5, 32))
    for _ in range(2):  # the second probe takes it from the cache
        with torch.inference_mode(), probe(model, x, taps={"cam"}) as seen:
            model(x)
        assert seen.taps["cam"].cells == expected
    low = x[:, :, :128]
    with torch.inference_mode(), probe(model, low, taps={"cam"}) as seen:
        model(low)
    assert seen.taps["cam"].cells == Cells(Axis(4, 0.5, 32), Axis(7, 0.5, 32))


def test_the_nearest_cell():
    axis = Axis(4, 0.5, 8)
    assert [axis.nearest(pixel) for pixel in (-3, 4, 5, 12, 13, 31, 99)] == [0, 0, 1, 1, 2, 3, 3]


def test_a_table_that_passes_through_unchanged_has_no_cells():
    table = torch.ones(3)
    x = torch.zeros(1, 3, 4, 4)
    with Follow(x) as follow:
        assert table.to(x) is table
        assert follow.of(table) is None
    assert not hasattr(table, "_cells")


def test_a_name_used_twice_in_a_pass_is_an_error():
    with probe(taps={"cam"}), pytest.raises(ValueError, match="named twice"):
        tap("cam", tap("cam", torch.zeros(1, 1, 2, 2), "NCHW"), "NCHW")
