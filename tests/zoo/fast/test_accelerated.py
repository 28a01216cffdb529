"""An accelerated copy gives the model's outputs; what can't be packed is left as it was, with a reason."""

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

import zoo
from zoo.fast import kernels, pack
from zoo.fast.accelerated import Accelerated, accelerate

PACKED = pytest.mark.skipif(bool(kernels.trouble()), reason="this machine has no packed kernels")
KERNELS = "_convolution_pointwise", "_linear_pointwise"


def image(*shape: int) -> Tensor:
    return torch.randn(shape or (1, 3, 16, 24), generator=torch.Generator().manual_seed(1))


def prepared(model: zoo.Backbone) -> zoo.Backbone:
    """In eval mode, frozen, with weights that all matter."""
    generator = torch.Generator().manual_seed(0)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) * 0.4 + 0.1)
    return model.eval().requires_grad_(False)


def operators(fast: Accelerated) -> Counter[str]:
    """How often the graph calls each operator; a kernel with a sum has its own name."""
    assert isinstance(fast.run, torch.fx.GraphModule)
    called = [str(node.target) for node in fast.run.graph.nodes if node.op == "call_function"]
    return Counter(name.split(".", 1)[1].removesuffix(".default") for name in called)


def run(model: nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(x)


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


class Model(zoo.Backbone):
    """What the layers below need of a model."""

    num_classes, readout = 3, "mean"


class Absorbing(Model):
    """All that a kernel can compute with its layer, once each."""

    def __init__(self):
        super().__init__()
        self.stem, self.stem_bn = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.first, self.second, self.shortcut = (
            nn.Conv2d(8, 8, 3, 1, 1, groups=2),
            nn.Conv2d(8, 8, 1),
            nn.Conv2d(8, 8, 1),
        )
        self.up, self.down, self.gamma = nn.Linear(8, 16), nn.Linear(16, 8), nn.Parameter(torch.empty(8))
        self.turned, self.scale = nn.Linear(8, 8), nn.Parameter(torch.empty(8, 1, 1))
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu6(self.stem_bn(self.stem(x)))
        y = nn.functional.silu(self.first(x), inplace=True)
        x = (self.second(y) + self.shortcut(x)).relu_()
        t = x.flatten(2).transpose(1, 2)
        t = torch.addcmul(t, self.gamma, self.down(nn.functional.gelu(self.up(t), approximate="tanh")))
        x = t.transpose(1, 2).unflatten(2, x.shape[2:])
        x = x + self.turned(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) * self.scale
        return self.fc(x.mean((2, 3)))


@PACKED
def test_activations_factors_and_sums_are_computed_in_the_layers_before_them():
    model, x = prepared(Absorbing()), image()
    fast = accelerate(model, image(1, 3, 16, 24) * 0.5)
    assert_close(run(fast, x), run(model, x))
    called = operators(fast)
    assert called["_convolution_pointwise.binary"] == 1 and called["_convolution_pointwise"] == 3
    assert called["_linear_pointwise.binary"] == 2 and called["_linear_pointwise"] == 2
    assert not called.keys() & {
        "silu_",
        "gelu",
        "add.Tensor",
        "relu_",
        "hardtanh",
        "addcmul",
        "mul.Tensor",
        "batch_norm",
    }


class Keeping(Model):
    """What must stay outside of the layers."""

    def __init__(self):
        super().__init__()
        self.twice, self.rows, self.wide = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.pixels, self.late = nn.Parameter(torch.empty(16, 24)), nn.Linear(4, 4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(x)
        x = x.sigmoid() + x  # read twice
        x = self.rows(x) * self.pixels  # not one factor for each channel
        x = self.wide(x) + x.mean((2, 3), keepdim=True)  # the sum broadcasts
        x = x + nn.functional.elu(self.rows(x))  # an activation that oneDNN does not have
        t = x.flatten(2).transpose(1, 2)
        t = (self.late(t) + t).tanh()  # after a sum, a linear layer takes no activation
        return self.fc(t.mean(1) - 2 * self.late(t).mean(1))


@PACKED
def test_what_a_kernel_cannot_compute_stays_outside():
    model, x = prepared(Keeping()), image()
    fast = accelerate(model, x)
    assert_close(run(fast, x), run(model, x))
    called = operators(fast)
    assert fast.left == {}
    assert {"sigmoid", "mul.Tensor", "add.Tensor", "elu", "tanh"} <= called.keys()
    assert called["_convolution_pointwise.binary"] == 0 and called["_linear_pointwise.binary"] == 1


class Moving(Model):
    """Weights that depend on the image, and padding by name."""

    def __init__(self):
        super().__init__()
        self.named, self.fc = nn.Conv2d(3, 4, 3, padding="same"), nn.Linear(4, 3)
        self.mixer = nn.Parameter(torch.empty(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.named(x)
        mixed = nn.functional.linear(x.flatten(2).transpose(1, 2), self.mixer * x.mean())
        return self.fc(mixed.mean(1))


@PACKED
def test_a_layer_without_a_kernel_is_left_and_named():
    model, x = prepared(Moving()), image()
    fast = accelerate(model, x)
    assert_close(run(fast, x), run(model, x))
    assert fast.left.pop("named") == pack.OTHER
    assert list(fast.left.values()) == [pack.MOVING]
    assert operators(fast)["_linear_pointwise"] == 1


@PACKED
@pytest.mark.parametrize("fails", [False, True])
def test_a_kernel_that_fails_or_differs_is_not_used(monkeypatch, fails):
    model, x, kernel = prepared(Absorbing()), image(), kernels.call

    def broken(layer, x, other, weight, bias):
        if layer.unary != "swish":
            return kernel(layer, x, other, weight, bias)
        if fails:
            raise RuntimeError("no such kernel\nand more")
        return kernel(layer, x, other, weight, bias + 1)

    monkeypatch.setattr(kernels, "call", broken)
    fast = accelerate(model, x)
    assert_close(run(fast, x), run(model, x))
    said = "its packed kernel failed: no such kernel" if fails else "its packed kernel differs by"
    assert list(fast.left) == ["first"] and fast.left["first"].startswith(said)
    assert operators(fast)["silu_"] == 1


def test_without_kernels_the_graph_still_runs(monkeypatch):
    model, x = prepared(Absorbing()), image()
    monkeypatch.setattr(kernels, "trouble", lambda: "no kernels here")
    fast = accelerate(model, x)
    assert fast.left == {"": "no kernels here"}
    assert_close(run(fast, x), run(model, x))
    assert "batch_norm" not in operators(fast)


class Deciding(Model):
    """A model whose operators depend on the pixels."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc(x.mean((2, 3)))
        return x if x.sum() > 0 else -x


def test_a_model_that_cannot_be_recorded_runs_as_it_is():
    model, x = prepared(Deciding()), image()
    fast = accelerate(model, x)
    assert fast.left[""].startswith("its operators cannot be recorded")
    for each in (x, -x, x + 5):
        assert torch.equal(run(fast, each), run(model, each))


class Counting(Model):
    """A model that gives another answer at each pass."""

    def __init__(self):
        super().__init__()
        self.fc, self.passes = nn.Linear(3, 3), 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.fc(x.mean((2, 3))) * self.passes


def test_a_copy_that_differs_as_a_whole_is_not_used():
    model, x = prepared(Counting()), image()
    fast = accelerate(model, x)
    assert "its outputs would change by" in fast.left[""]
    assert fast.run is model and fast.difference == 0


def test_other_shapes_and_models_in_training_are_refused():
    model, x = prepared(Absorbing()), image()
    fast = accelerate(model, x)
    with pytest.raises(ValueError, match=r"takes images of shape \(1, 3, 16, 24\), not \(2, 3, 16, 24\)"):
        fast(x.expand(2, -1, -1, -1))
    with pytest.raises(ValueError, match="eval mode"):
        accelerate(model.train(), x)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_bfloat16_changes_little_and_says_how_much(name):
    torch.manual_seed(0)
    model, x = zoo.create(name).requires_grad_(False), image(1, 3, 224, 224)
    model.get_submodule(model.classifier_key).weight.normal_()
    fast = accelerate(model, x, torch.bfloat16)
    found, expected = run(fast, x), run(model, x)
    assert found.dtype == torch.float32
    assert (fast.left == {}) == torch.ops.mkldnn._is_mkldnn_bf16_supported()  # else the layers keep PyTorch's kernels
    assert 0 < fast.difference < 0.03 * fast.reach
    torch.testing.assert_close(fast.difference, (found - expected).abs().max().item())
    torch.testing.assert_close(fast.reach, expected.abs().max().item())


@PACKED
@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "convnext_atto"])
def test_a_copy_holds_each_weight_once_and_shares_what_it_does_not_pack(name):
    model = zoo.create(name).requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fast, own = accelerate(model, image(1, 3, 224, 224)), {p.data_ptr() for p in model.parameters()}
    held = [t for t in (*fast.parameters(), *fast.buffers()) if t.layout != torch.strided or t.data_ptr() not in own]
    whole = sum(p.nbytes for p in model.parameters())
    assert sum(t.nbytes for t in held) <= 1.05 * whole
    assert sum(t.nbytes for t in held if t.layout == torch.strided) <= 0.1 * whole  # all but biases is packed
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
