"""Time the zoo beside timm in one process, in interleaved rounds, so that only the ratio of two medians is read.

    python -m tools.bench                 what each family's golden names, then what maps cost in forwards
    python -m tools.bench resnet50 ...    these

Batch 1, fp32, this machine's default threads. A ratio under 1 says that the zoo is faster. Ratios hold across machines
of one kind; milliseconds do not.
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
from explain import available, explain, perturbation
from tools import golden_file
from tools.oracle import timm
from zoo.cost import native_size

# Where captum's Grad-CAM looks, so that both look at the same tensor.
MAPPED = {"resnet50": "layer4", "vit_small_patch16_224": "blocks.11.norm1", "swin_tiny_patch4_window7_224": "norm"}
SLOW = ("integrated_gradients", "occlusion", "ablation")


def interleave(sides: list[Callable[[], object]], seconds: float, least: int = 20) -> list[float]:
    """Median milliseconds of each side, called in rounds for `seconds` in all and at least `least` times each.

    Each round has an order of its own: what ran before a side, and the memory it left behind, is worth a per cent.
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
    """Every quick map of a model, frozen as a loaded one is, in forwards of the same model; others' Grad-CAM beside."""
    model = zoo.create(name).requires_grad_(False)
    x = torch.randn(1, 3, *native_size(name))
    plain = {"one forward": partial(forward, model, x)}
    ours = {
        offer.method.key: partial(explain, model, x, offer.method.key)
        for offer in available(model)
        if offer.ok and not offer.method.slow
    }
    print(f"{name}, in forwards of its own:")
    sides = plain | others_grad_cam(model, MAPPED[name], x) | ours
    forward_ms, *costs = interleave(list(sides.values()), seconds * len(sides) / 2)
    for side, cost in zip(list(sides)[1:], costs, strict=True):
        print(f"    {side:24} {cost:8.1f} ms   {cost / forward_ms:6.2f} forwards", flush=True)


def others_grad_cam(model: zoo.Backbone, layer: str, x: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Grad-CAM by captum, and by torch-cam where it can read the layer: the same weights, as their users have them."""
    place = model.get_submodule(layer)
    captum = LayerGradCam(model, place)
    sides: dict[str, Callable[[], object]] = {"captum's LayerGradCam": lambda: captum.attribute(x, target=1)}
    if model.no_attention is not None:  # it reads (B, C, H, W) alone
        unfrozen = deepcopy(model).requires_grad_(True)
        torch_cam = GradCAM(unfrozen, unfrozen.get_submodule(layer))
        sides["torch-cam's GradCAM"] = lambda: torch_cam(1, unfrozen(x))
    return sides


def price_of_slow_maps(name: str) -> None:
    """Maps of many forwards: in forwards of one image, and in time an image at their own batch size."""
    model = zoo.create(name).requires_grad_(False)
    x = torch.randn(1, 3, *native_size(name))
    many = x.expand(perturbation.BATCH, -1, -1, -1).contiguous()
    for method in SLOW:
        totals: list[int] = []
        one = partial(explain, model, x, method, progress=lambda done, total, to=totals: to.append(total))
        plain, batch, cost = interleave([partial(forward, model, x), partial(forward, model, many), one], 0, least=3)
        each = batch / perturbation.BATCH
        print(
            f"    {method:24} {cost:8.0f} ms   {cost / plain:6.1f} forwards   "
            f"{cost / (totals[-1] * each):.2f} x its {totals[-1]} images at batch {perturbation.BATCH}",
            flush=True,
        )


def forward(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(x)


def chosen() -> list[str]:
    """What the goldens' headers name to be timed."""
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
