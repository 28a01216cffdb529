"""Costs equal the published figures of architectures, and counts by hand."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import zoo
from zoo.catalogue import for_architecture
from zoo.cost import _cost, _forward, cost, native
from zoo.registry import variant

# Parameters and 10^9 multiply-adds at this side, from the tables of torchvision 0.28's documentation, which count
# convolutions and matrix products and round to three decimals.
PUBLISHED = [
    ("resnet18", 224, 11_689_512, 1.814),
    ("resnet50", 224, 25_557_032, 4.089),
    ("resnet152", 224, 60_192_808, 11.514),
    ("resnext50_32x4d", 224, 25_028_904, 4.230),
    ("wide_resnet50_2", 224, 68_883_240, 11.398),
    ("mobilenetv2_100", 224, 3_504_872, 0.301),
    ("convnext_tiny", 224, 28_589_128, 4.456),
    ("convnext_base", 224, 88_591_464, 15.355),
    ("swin_tiny_patch4_window7_224", 224, 28_288_354, 4.491),
    ("swin_base_patch4_window7_224", 224, 87_768_224, 15.431),
    ("vit_base_patch16_224", 224, 86_567_656, 17.564),
    ("vit_base_patch16_384", 384, 86_859_496, 55.484),
    ("vit_large_patch16_224", 224, 304_326_632, 61.555),
]
ONE_OF_EACH_CLASS = {variant(name)[0]: name for name in reversed(zoo.names())}.values()


@pytest.mark.parametrize(("name", "side", "parameters", "gmacs"), PUBLISHED)
def test_published_figures(name, side, parameters, gmacs):
    c = cost(name, (side, side))
    assert c.parameters == parameters
    assert c.weight_bytes == 4 * parameters
    assert c.macs / 1e9 == pytest.approx(gmacs, rel=0, abs=0.0005)


# 10^6 activations at 224 pixels, from timm's benchmark of 2022, which counts what convolutions and products write.
ACTIVATIONS = [
    ("resnet50", 11.11),
    ("mobilenetv2_100", 6.68),
    ("convnext_tiny", 13.44),
    ("swin_tiny_patch4_window7_224", 17.06),
    ("vit_base_patch16_224", 23.9),
    ("mixer_b16_224", 14.53),
    ("cait_s24_224", 40.58),
]


@pytest.mark.parametrize(("name", "millions"), ACTIVATIONS)
def test_published_activations(name, millions):
    assert cost(name, (224, 224)).activations / 1e6 == pytest.approx(millions, rel=0, abs=0.006)


def test_cifar_resnet_by_hand():
    stage = 3 * 3 * 16 * 16 * 32 * 32  # one convolution; halving the grid and doubling the channels keeps it
    total = 3 * 3 * 3 * 16 * 32 * 32 + 6 * stage + 2 * (stage // 2 + 5 * stage) + 64 * 10
    assert cost("resnet20_cifar", (32, 32)).macs == total


class Counted(nn.Module):
    """A forward pass on (1, 3, 8, 8) with weights made on the meta device."""

    def __init__(self, run):
        super().__init__()
        self.run = run

    def forward(self, x):
        return self.run(x)


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")


@pytest.mark.parametrize(
    ("run", "macs"),
    [
        (lambda x: F.conv2d(x, meta(5, 3, 3, 3), padding=1), 5 * 3 * 9 * 64),
        (lambda x: F.conv2d(x, meta(6, 1, 3, 3), padding=1, groups=3), 6 * 9 * 64),
        (lambda x: F.conv2d(x, meta(5, 3, 3, 3), stride=2, dilation=2), 5 * 3 * 9 * 4),
        (lambda x: F.conv_transpose2d(x, meta(3, 5, 2, 2), stride=2), 3 * 5 * 4 * 64),
        (lambda x: F.conv1d(x.flatten(2), meta(4, 3, 1)), 4 * 3 * 64),
        (lambda x: F.conv3d(x[:, None], meta(2, 1, 3, 1, 1)), 2 * 3 * 64),
        (lambda x: F.linear(x, meta(7, 8), meta(7)), 3 * 8 * 8 * 7),
        (lambda x: F.linear(x, meta(7, 8)), 3 * 8 * 8 * 7),
        (lambda x: x @ meta(8, 5), 3 * 8 * 8 * 5),
        (lambda x: x @ x.mT, 3 * 8 * 8 * 8),
        (lambda x: torch.baddbmm(meta(3, 8, 5), x[0], meta(3, 8, 5)), 3 * 8 * 8 * 5),
        (lambda x: torch.addmm(meta(5), x[0, 0], meta(8, 5)), 8 * 8 * 5),
        (lambda x: torch.einsum("bchw,dw->bchd", x, meta(5, 8)), 3 * 8 * 8 * 5),
        (lambda x: F.scaled_dot_product_attention(x, x, x), 2 * 3 * 8 * 8 * 8),
        (lambda x: F.scaled_dot_product_attention(x, x[:, :, :2], x[:, :, :2], meta(8, 2)), 2 * 3 * 8 * 2 * 8),
        (lambda x: F.gelu(F.layer_norm(F.interpolate(x, scale_factor=2), (16,))).softmax(-1).mean((2, 3)), 0),
    ],
)
def test_operations_by_hand(run, macs):
    assert _forward(Counted(run), 8, 8)[0].macs == macs


def test_tables_are_computed_for_real():
    def run(x):
        row = torch.arange(8, device=x.device)
        assert row.sum().item() == 28
        even = (row % 2 == 0).nonzero()[:, 0]
        mask = torch.zeros(8, device=x.device).masked_fill(row > 3, 1)
        assert mask.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
        y = x[:, :, even][..., row > 4] + mask[:3]
        return F.linear(y.to(x.device), meta(2, 3))

    assert _forward(Counted(run), 8, 8)[0].macs == 3 * 4 * 3 * 2


def test_attention_layers():
    assert cost("resnet18", (64, 64)).attention_layers == ()
    vit = cost("vit_tiny_patch16_224").attention_layers
    assert vit == tuple((f"blocks.{i}.attn", 3) for i in range(12))
    swin = cost("swin_tiny_patch4_window7_224").attention_layers
    assert [heads for _, heads in swin] == [3, 3, 6, 6, 12, 12, 12, 12, 12, 12, 24, 24]
    assert swin[4][0] == "layers.2.blocks.0.attn"


@pytest.mark.parametrize("name", ONE_OF_EACH_CLASS)
def test_every_class_can_be_counted(name):
    c = cost(name)
    with torch.device("meta"):
        model = zoo.create(name)
    assert c.macs > 0
    assert bool(c.attention_layers) == (model.no_attention is None)
    assert all(heads > 0 and model.get_submodule(path) for path, heads in c.attention_layers)


def test_the_shapes_after_the_stages():
    halves = tuple((f"stage{i}", (256 * 2**i // 2, 64 // 2**i, 128 // 2**i)) for i in range(1, 5))
    assert cost("resnet50", (128, 256)).stages == halves
    assert cost("vit_tiny_patch16_224").stages[0] == ("stage1", (192, 14, 14))
    assert cost("swin_tiny_patch4_window7_224").stages[3] == ("stage4", (768, 7, 7))


def test_native_sizes_and_classes():
    assert native("vit_base_patch16_384") == ("vit_base_patch16_384", 384, 384, 1000)  # from its config
    assert for_architecture("convnext_xxlarge")[0].size == native("convnext_xxlarge")[1:3] == (256, 256)
    assert native("resnet20_cifar") == ("resnet20_cifar", 32, 32, 10)  # from its config, too
    assert native("resnet10t")[1:3] == for_architecture("resnet10t")[0].size
    c = cost("convnext_xxlarge")
    assert (c.height, c.width) == (256, 256)


def test_size_and_classes():
    assert cost("resnet18", (128, 256)).macs == cost("resnet18", (256, 128)).macs
    assert cost("resnet18").macs - cost("resnet18", num_classes=0).macs == 512 * 1000
    assert cost("resnet18").parameters - cost("resnet18", num_classes=10).parameters == 513 * 990


def test_refusals():
    with pytest.raises(KeyError, match="no architecture 'resnet51'"):
        cost("resnet51")
    with pytest.raises(ValueError, match="224x224 only"):
        cost("mixer_b16_224", (256, 256))


def test_the_callers_modes_do_not_change_the_cost():
    plain = cost("vit_cifar")
    _cost.cache_clear()
    with torch.inference_mode():
        assert cost("vit_cifar") == plain
    _cost.cache_clear()
    with torch.enable_grad(), torch.device("meta"):
        assert cost("vit_cifar") == plain


def test_is_cached():
    assert cost("vit_cifar") is cost("vit_cifar", native("vit_cifar")[1:3])


def test_threads_do_not_disturb_each_other():
    cases = [("vit_cifar", 32), ("swin_cifar", 32), ("resnet20_cifar", 32), ("convnext_cifar", 64)]
    alone = [cost(name, (side, side)) for name, side in cases]
    _cost.cache_clear()
    model, x, done = zoo.create("swin_cifar"), torch.randn(1, 3, 32, 32), threading.Event()
    with torch.inference_mode():
        expected = model(x)

    def run_meanwhile() -> bool:
        with torch.inference_mode():
            while not done.is_set():
                if not torch.equal(model(x), expected):
                    return False
        return True

    with ThreadPoolExecutor(6) as pool:
        other = pool.submit(run_meanwhile)
        together = list(pool.map(lambda case: cost(case[0], (case[1], case[1])), cases))
        done.set()
        assert other.result()
    assert together == alone
