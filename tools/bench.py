"""Time the zoo beside timm in one process, in interleaved rounds, so that only the ratio of two medians is read.

    python -m tools.bench                 one architecture of every family, then what maps cost in forwards
    python -m tools.bench resnet50 ...    these

Batch 1, fp32, this machine's default threads. A ratio under 1 says that the zoo is faster. Ratios hold across machines
of one kind; milliseconds do not.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

import zoo
from explain import available, explain
from tools.oracle import timm
from zoo.cost import native_size

FAMILIES = (
    "resnet50",
    "seresnet50",
    "ecaresnet50t",
    "resnetaa50d",
    "resnetrs50",
    "resnext50_32x4d",
    "vit_small_patch16_224",
    "vit_little_patch16_reg4_gap_256",
    "vit_dlittle_patch16_reg1_gap_256",
    "vit_small_patch16_18x2_224",
    "deit_small_distilled_patch16_224",
    "deit3_small_patch16_224",
    "convnext_tiny",
    "convnextv2_tiny",
    "swin_tiny_patch4_window7_224",
    "swin_s3_tiny_224",
    "mobilenetv2_100",
    "mixer_b16_224",
    "gmixer_24_224",
    "eva_large_patch14_196",
    "eva02_small_patch14_224",
    "eva02_base_patch16_clip_224",
    "vit_small_patch16_rope_224",
    "vit_small_patch16_rope_mixed_224",
    "vit_pe_core_base_patch16_224",
    "vit_small_patch16_dinov3",
)
MAPPED = ("resnet50", "vit_small_patch16_224", "swin_tiny_patch4_window7_224")


def interleave(sides: list[Callable[[], object]], seconds: float) -> list[float]:
    """Median milliseconds of each side, called in turn for `seconds` in all and at least 20 times each."""
    for side in sides:
        side()
        side()
    times: list[list[float]] = [[] for _ in sides]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 20:
        for side, kept in zip(sides, times, strict=True):
            start = time.perf_counter()
            side()
            kept.append(1000 * (time.perf_counter() - start))
    return [statistics.median(kept) for kept in times]


def compare_forward(name: str, seconds: float) -> None:
    theirs = timm.create_model(name).eval()
    ours = zoo.create_from(name, theirs.state_dict())
    x = torch.randn(1, *theirs.pretrained_cfg["input_size"])
    with torch.inference_mode():
        mine, reference = interleave([lambda: ours(x), lambda: theirs(x)], seconds)
    print(f"{name:40} zoo {mine:8.1f} ms   timm {reference:8.1f} ms   ratio {mine / reference:.3f}", flush=True)


def price_of_a_map(name: str, method: str, seconds: float) -> None:
    """A map in forwards of the same model, frozen as a loaded one is."""
    model = zoo.create(name).requires_grad_(False)
    x = torch.randn(1, 3, *native_size(name))

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return model(x)

    plain, map_ = interleave([forward, lambda: explain(model, x, method)], seconds)
    print(f"{name:40} {method} {map_:8.1f} ms   forward {plain:8.1f} ms   ratio {map_ / plain:.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=FAMILIES)
    parser.add_argument("--seconds", type=float, default=20, help="for each comparison")
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batch 1, fp32, medians of interleaved rounds")
    for name in args.names:
        compare_forward(name, args.seconds)
    if args.names is FAMILIES:
        for name in MAPPED:
            for method in (offer.method.key for offer in available(zoo.create(name)) if offer.ok):
                price_of_a_map(name, method, args.seconds)


if __name__ == "__main__":
    main()
