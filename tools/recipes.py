"""The recipes of the bundled checkpoints: one row for each run of tools/train.py.

A row is named by its architecture and the number of the run: a model trained in several runs has a row for each, in
order. To train another architecture, or to continue one, add a row and call `python -m tools.train ARCHITECTURE`, which
trains the last run.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Recipe:
    """How a model is trained. The rate rises during `warmup`, a share of the run, then falls linearly to zero."""

    epochs: int
    lr: float  # of Muon, for matrices and kernels
    rest_lr: float = 2e-3  # of AdamW, for norms, biases, tokens, depthwise kernels and the classifier
    weight_decay: float = 0.05
    batch: int = 128
    warmup: float = 0.1
    smoothing: float = 0.1  # label smoothing
    cutout: int = 0  # side of the square replaced by grey
    cutmix: float = 0.0  # share of the batches in which a box comes from another image
    coarse: float = 0.0  # share of the run, from its start, with images of 24x24, which cost about half
    ema: float = 0.998  # the saved weights are a running mean with this decay
    start: str = ""  # the run whose weights this one starts from
    teachers: tuple[str, ...] = ()  # runs whose mean output is a second target, besides the classes
    seed: int = 0


PLAIN = Recipe(epochs=36, lr=0.02, weight_decay=0.02, batch=512, smoothing=0.05, cutmix=0.5, ema=0.99)
# Students with the same teachers and the same images share the cached answers.
STUDENT = Recipe(epochs=12, lr=6e-3, batch=256, cutmix=0.5, coarse=0.7, ema=0.99, teachers=("resnet20x2_cifar-1",))
# The second run of a student: at full size throughout, with the two teachers that are best together.
GONE_ON = replace(STUDENT, coarse=0.0, teachers=("resnet20x2_cifar-2", "resnet32_cifar-3"))
RECIPES = {
    "resnet9_cifar-1": replace(PLAIN, epochs=20, coarse=0.4),
    "resnet20x2_cifar-1": replace(PLAIN, coarse=0.75),
    "resnet20x2_cifar-2": replace(PLAIN, epochs=8, lr=0.015, start="resnet20x2_cifar-1"),
    "resnet20x2_cifar-3": replace(GONE_ON, epochs=20, lr=0.015, weight_decay=0.02, start="resnet20x2_cifar-2"),
    "resnet32_cifar-1": replace(PLAIN, epochs=80, cutmix=0.0, cutout=8, coarse=0.7),
    "resnet32_cifar-2": replace(
        PLAIN, epochs=14, lr=0.01, start="resnet32_cifar-1", teachers=("resnet20x2_cifar-1", "resnet32_cifar-1")
    ),
    "resnet32_cifar-3": replace(
        PLAIN, epochs=7, lr=0.01, start="resnet32_cifar-2", teachers=("resnet20x2_cifar-2", "resnet32_cifar-2")
    ),
    "convnext_cifar-1": replace(STUDENT, epochs=20, ema=0.995, teachers=()),
    "convnext_cifar-2": replace(STUDENT, epochs=6, coarse=0.0, start="convnext_cifar-1"),
    "convnext_cifar-3": replace(GONE_ON, epochs=16, start="convnext_cifar-2"),
    "mobilenetv2_cifar-1": replace(STUDENT, epochs=18, lr=0.02, weight_decay=0.02),
    "mobilenetv2_cifar-2": replace(GONE_ON, epochs=20, lr=0.015, weight_decay=0.02, start="mobilenetv2_cifar-1"),
    "vit_gap_cifar-1": STUDENT,
    "vit_gap_cifar-2": replace(GONE_ON, epochs=16, start="vit_gap_cifar-1"),
    "cait_cifar-1": replace(STUDENT, epochs=10),
    "cait_cifar-2": replace(GONE_ON, epochs=8, start="cait_cifar-1"),
    "swin_cifar-1": replace(STUDENT, epochs=10),
    "swin_cifar-2": replace(GONE_ON, epochs=16, start="swin_cifar-1"),
    "nest_cifar-1": replace(STUDENT, epochs=8, ema=0.995, teachers=()),
    "mixer_cifar-1": replace(STUDENT, coarse=0.0),
    "mixer_cifar-2": replace(GONE_ON, epochs=12, start="mixer_cifar-1"),
}


def architecture(name: str) -> str:
    """The architecture that a run trains."""
    return name.rpartition("-")[0]


LAST = {architecture(name): name for name in RECIPES}  # architecture -> its last run
