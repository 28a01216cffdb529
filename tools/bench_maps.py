"""The price of maps: how long explanations take, in forwards of the same model, beside other packages' Grad-CAM."""

import statistics
from collections.abc import Callable
from copy import deepcopy
from functools import partial

import torch
from captum.attr import LayerGradCam
from torchcam.methods import GradCAM

import zoo
from explain import available, explain
from tools.rounds import interleave

# The layer for captum's Grad-CAM: it outputs the same tensor as our "cam" tap.
MAPPED = {"resnet50": "layer4", "vit_small_patch16_224": "blocks.11.norm1", "swin_tiny_patch4_window7_224": "norm"}
SLOW = ("integrated_gradients", "occlusion", "ablation")


def price(seconds: float) -> None:
    for name in MAPPED:
        price_of_maps(name, seconds)
    price_of_slow_maps("resnet50")


def price_of_maps(name: str, seconds: float) -> None:
    """Cost of every quick map, and of other packages' Grad-CAM, in forwards of the same frozen model."""
    model = zoo.create(name).requires_grad_(False)
    x = torch.randn(1, 3, *zoo.native(name)[1:3])
    plain = {"one forward": partial(forward, model, x)}
    ours = {
        offer.method.key: partial(explain, model, x, offer.method.key)
        for offer in available(model)
        if offer.ok and not offer.method.slow
    }
    print(f"{name}, in its own forwards:")
    sides = plain | others_grad_cam(model, MAPPED[name], x) | ours
    forward_ms, *costs = map(statistics.median, interleave(list(sides.values()), seconds * len(sides) / 2))
    for side, cost in zip(list(sides)[1:], costs, strict=True):
        print(f"    {side:24} {cost:8.1f} ms   {cost / forward_ms:6.2f} forwards", flush=True)


def others_grad_cam(model: zoo.Backbone, layer: str, x: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Grad-CAM by captum, and by torch-cam if it can read the layer, with the same weights and their default use."""
    place = model.get_submodule(layer)
    captum = LayerGradCam(model, place)
    sides: dict[str, Callable[[], object]] = {"captum's LayerGradCam": lambda: captum.attribute(x, target=1)}
    if model.no_attention is not None:  # it reads only (B, C, H, W)
        unfrozen = deepcopy(model).requires_grad_(True)
        torch_cam = GradCAM(unfrozen, unfrozen.get_submodule(layer))
        sides["torch-cam's GradCAM"] = lambda: torch_cam(1, unfrozen(x))
    return sides


def price_of_slow_maps(name: str) -> None:
    """Cost of slow maps, in forwards, and relative to the images that they show to the model."""
    model = zoo.create(name).requires_grad_(False)
    x = torch.randn(1, 3, *zoo.native(name)[1:3])
    for method in SLOW:
        totals: list[int] = []
        one = partial(explain, model, x, method, progress=lambda done, total, to=totals: to.append(total))
        plain, cost = map(statistics.median, interleave([partial(forward, model, x), one], 0, least=3))
        print(
            f"    {method:24} {cost:8.0f} ms   {cost / plain:6.1f} forwards   "
            f"{cost / (totals[-1] * plain):.2f} x its {totals[-1]} images",
            flush=True,
        )


def forward(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(x)
