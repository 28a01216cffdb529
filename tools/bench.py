"""Time the zoo and timm in one process, in interleaved rounds, and report the ratio of their medians.

    python -m tools.bench                 the architectures named in the goldens, then the cost of maps in forwards
    python -m tools.bench resnet50 ...    these architectures

Batch 1, fp32, this machine's default threads. A ratio under 1 means that the zoo is faster. Ratios are comparable
across machines of one kind; milliseconds are not.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial

import torch
from captum.attr import LayerGradCam
from torchcam.methods import GradCAM

import zoo
from explain import available, explain
from tools import golden_file
from tools.oracle import timm
from zoo.cost import native_size

# The layer for captum's Grad-CAM: it outputs the same tensor as our "cam" tap.
MAPPED = {"resnet50": "layer4", "vit_small_patch16_224": "blocks.11.norm1", "swin_tiny_patch4_window7_224": "norm"}
SLOW = ("integrated_gradients", "occlusion", "ablation")


def interleave(sides: list[Callable[[], object]], seconds: float, least: int = 20) -> list[float]:
    """Median milliseconds of each side, called in rounds for `seconds` in total and at least `least` times each.

    Each round has a random order: what ran before a side, and the memory that it used, changes its time by a per cent.
    """
    for side in sides:
        side()
    times: list[list[float]] = [[] for _ in sides]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < least:
        for i in random.sample(range(len(sides)), len(sides)):
            start = time.perf_counter()
            sides[i]()
            times[i].append(1000 * (time.perf_counter() - start))
    return [statistics.median(kept) for kept in times]


def compare_forward(name: str, seconds: float) -> None:
    theirs = timm.create_model(name).eval()
    ours = zoo.create_from(name, theirs.state_dict())
    x = torch.randn(1, *theirs.pretrained_cfg["input_size"])
    with torch.inference_mode():
        mine, reference = interleave([lambda: ours(x), lambda: theirs(x)], seconds)
    print(f"{name:40} zoo {mine:8.1f} ms   timm {reference:8.1f} ms   ratio {mine / reference:.3f}", flush=True)


def price_of_maps(name: str, seconds: float) -> None:
    """Cost of every quick map, and of other packages' Grad-CAM, in forwards of the same frozen model."""
    model = zoo.create(name).requires_grad_(False)
    x = torch.randn(1, 3, *native_size(name))
    plain = {"one forward": partial(forward, model, x)}
    ours = {
        offer.method.key: partial(explain, model, x, offer.method.key)
        for offer in available(model)
        if offer.ok and not offer.method.slow
    }
    print(f"{name}, in its own forwards:")
    sides = plain | others_grad_cam(model, MAPPED[name], x) | ours
    forward_ms, *costs = interleave(list(sides.values()), seconds * len(sides) / 2)
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
    x = torch.randn(1, 3, *native_size(name))
    for method in SLOW:
        totals: list[int] = []
        one = partial(explain, model, x, method, progress=lambda done, total, to=totals: to.append(total))
        plain, cost = interleave([partial(forward, model, x), one], 0, least=3)
        print(
            f"    {method:24} {cost:8.0f} ms   {cost / plain:6.1f} forwards   "
            f"{cost / (totals[-1] * plain):.2f} x its {totals[-1]} images",
            flush=True,
        )


def forward(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(x)


def chosen() -> list[str]:
    """The architectures that the goldens' headers list under `bench`."""
    return [name for family in golden_file.families() for name in golden_file.read(family).bench]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seconds", type=float, default=20, help="for each comparison")
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batch 1, fp32, medians of interleaved rounds")
    for name in args.names or chosen():
        compare_forward(name, args.seconds)
    if not args.names:
        for name in MAPPED:
            price_of_maps(name, args.seconds)
        price_of_slow_maps("resnet50")


if __name__ == "__main__":
    main()
