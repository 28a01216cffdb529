"""Train a bundled checkpoint on CIFAR-10, on a CPU or a GPU; stop it whenever you like, it goes on where it was.

    python -m tools.train resnet32_cifar --data cifar10.tar

Each epoch ends in runs/NAME.pt; behind the last one, tools/bundle.py puts the weights into zoo/bundled.
"""

import argparse
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from tools.bundle import export
from tools.cifar import CLASSES, RUNS, accuracy, normalize, read_photos
from zoo.base import Backbone
from zoo.catalogue import BUNDLED
from zoo.latency import device_name
from zoo.registry import create
from zoo.weights import load

MARGIN = 4  # pixels by which a training picture may be shifted
APART = "epochs", "seed"  # parts of a recipe that have columns of their own in the table of the bundle
TEMPERATURE, TAUGHT = 2.0, 0.9  # of the teachers' answers, and their share in the loss
VIEWS = 12  # epochs after which the taught see the same pictures again, for the teachers' answers to them are kept
COARSE = 24  # side of the pictures at the start of a run, if its recipe says so


@dataclass(frozen=True)
class Recipe:
    """How a model is trained. The rate rises for `warmup` of the run, then falls to zero along a straight line."""

    epochs: int
    lr: float  # of Muon, which takes matrices and kernels
    rest_lr: float = 2e-3  # of AdamW, which takes norms, biases, tokens, depthwise kernels, the classifier
    weight_decay: float = 0.05
    batch: int = 128
    warmup: float = 0.1
    smoothing: float = 0.1  # label smoothing
    cutout: int = 0  # side of the square that is greyed out
    cutmix: float = 0.0  # share of the batches in which a box comes from another picture
    coarse: float = 0.0  # share of the run, from its start, on pictures of 24x24, which cost about half
    ema: float = 0.998  # the weights kept are a running mean with this decay
    start: str = ""  # a bundled checkpoint whose weights are gone on from
    teachers: tuple[str, ...] = ()  # bundled checkpoints whose mean answer is learned, beside the classes
    seed: int = 0


# Those taught by the same teachers from the same pictures share the kept answers.
STUDENT = Recipe(
    epochs=12, lr=6e-3, batch=256, cutmix=0.5, coarse=0.7, ema=0.99, teachers=("resnet20x2_cifar.cifar10",)
)
RECIPES = {
    # Its start: 80 epochs by the recipe of resnet20x2_cifar, but with cutout 8 for cutmix, coarse 0.7: 89.30 %.
    "resnet32_cifar": Recipe(
        epochs=14,
        lr=0.01,
        weight_decay=0.02,
        batch=512,
        smoothing=0.05,
        cutmix=0.5,
        ema=0.99,
        start="resnet32_cifar.cifar10",
        teachers=("resnet20x2_cifar.cifar10", "resnet32_cifar.cifar10"),
    ),
    "resnet20x2_cifar": Recipe(
        epochs=36, lr=0.02, weight_decay=0.02, batch=512, smoothing=0.05, cutmix=0.5, coarse=0.75, ema=0.99
    ),
    # Its start: 20 epochs with coarse 0.7 and ema 0.995, untaught: 85.44 %.
    "convnext_cifar": replace(STUDENT, epochs=6, coarse=0.0, start="convnext_cifar.cifar10"),
    "mobilenetv2_cifar": replace(STUDENT, epochs=18, lr=0.02, weight_decay=0.02),
    "vit_gap_cifar": STUDENT,
    "cait_cifar": replace(STUDENT, epochs=10),
    "swin_cifar": replace(STUDENT, epochs=10),
    "mixer_cifar": replace(STUDENT, coarse=0.0),
}


def augment(x: Tensor, y: Tensor, recipe: Recipe, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Shift, mirror, grey out, mix. uint8 (B, 40, 40, 3) with margins, labels (B,) -> (B, 3, 32, 32), (B, 10)."""
    n, side = len(x), x.shape[1] - 2 * MARGIN
    span = torch.arange(side)
    shift = torch.randint(0, 2 * MARGIN + 1, (2, n, 1), generator=rng)
    mirror = torch.rand(n, 1, generator=rng) < 0.5
    rows, cols = shift[0] + span, shift[1] + torch.where(mirror, side - 1 - span, span)
    x = x[torch.arange(n)[:, None, None], rows[:, :, None].to(x.device), cols[:, None, :].to(x.device)]
    x, target = normalize(x), F.one_hot(y, len(CLASSES)).float()
    if recipe.cutout:
        corner = torch.randint(-recipe.cutout // 2, side - recipe.cutout // 2, (2, n, 1), generator=rng)
        inside = (span >= corner) & (span < corner + recipe.cutout)  # (2, B, side): rows, columns
        x = x.masked_fill((inside[0][:, None, :, None] & inside[1][:, None, None, :]).to(x.device), 0.0)
    if recipe.cutmix and torch.rand((), generator=rng) < recipe.cutmix:
        size = int(side * (1 - torch.rand((), generator=rng)) ** 0.5)
        top, left = torch.randint(0, side - size + 1, (2,), generator=rng).tolist()
        box = (..., slice(top, top + size), slice(left, left + size))
        x[box] = x.flip(0)[box]
        target = torch.lerp(target, target.flip(0), (size / side) ** 2)
    return x, target


class Optimizers:
    """Muon (arXiv 2502.16982) for what mixes features, AdamW for all else; both write straight into the model."""

    def __init__(self, model: Backbone, recipe: Recipe):
        mixing, rest = [], []
        for name, p in model.named_parameters():
            mixes = p.ndim in (2, 4) and p.shape[1] > 1 and not name.startswith(model.classifier_key)
            (mixing if mixes else rest).append(p)
        # Muon wants matrices: a kernel (O, I, h, w) of channels-last memory is seen as (O, h * w * I).
        self.matrices = [(p, nn.Parameter(as_matrix(p.data))) for p in mixing]
        matrices = [matrix for _, matrix in self.matrices]
        muon = torch.optim.Muon(matrices, recipe.lr, recipe.weight_decay, momentum=0.95, adjust_lr_fn="match_rms_adamw")
        adamw = torch.optim.AdamW(rest, recipe.rest_lr, betas=(0.9, 0.99), weight_decay=0.0)
        self.members = {"muon": muon, "adamw": adamw}
        self.groups = [(group, group["lr"]) for member in self.members.values() for group in member.param_groups]

    def step(self, rate: float) -> None:
        """Update every parameter at `rate` times its full learning rate, and forget the gradients."""
        for group, lr in self.groups:
            group["lr"] = rate * lr
        for p, matrix in self.matrices:
            assert p.grad is not None
            matrix.grad, p.grad = as_matrix(p.grad), None
        for member in self.members.values():
            member.step()
            member.zero_grad()


def as_matrix(x: Tensor) -> Tensor:
    return x if x.ndim == 2 else x.permute(0, 2, 3, 1).view(len(x), -1)


def shrunk(images: Tensor) -> Tensor:
    return F.interpolate(images, COARSE, mode="bilinear", antialias=True)


def distillation(logits: Tensor, answers: Tensor) -> Tensor:
    """How far softened logits are from softened answers, both (B, classes) (Hinton et al. 2015, arXiv:1503.02531)."""
    own = (logits.float() / TEMPERATURE).log_softmax(1)
    return TEMPERATURE**2 * F.kl_div(own, answers, reduction="batchmean")


class Teachers:
    """Bundled checkpoints that answer together; their answers to each view of the photos are kept in runs/."""

    def __init__(self, recipe: Recipe, device: torch.device):
        self.device = device
        self.models = [load(name).to(device).to(memory_format=torch.channels_last) for name in recipe.teachers]
        pictures = recipe.batch, recipe.cutout, recipe.cutmix, recipe.seed
        key = hashlib.sha256(repr((pictures, TEMPERATURE)).encode())
        for name in recipe.teachers:
            key.update((BUNDLED / f"{name}.safetensors").read_bytes())
        self.kept = RUNS / "answers" / key.hexdigest()[:12]

    def answers(self, view: int, batches: Iterable[Tensor]) -> Tensor:
        """The mean softened answers to the pictures (batch, 3, H, W) of a view: (steps, batch, classes)."""
        file = self.kept / f"{view}.pt"
        if not file.exists():
            given = torch.stack([self.ask(images) for images in tqdm(batches, f"answers {view + 1}", mininterval=5)])
            write(given.half(), file)
        return torch.load(file, map_location=self.device, weights_only=True).float()

    @torch.inference_mode()
    def ask(self, images: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16):
            logits = torch.stack([model(images) for model in self.models])
        return (logits.float() / TEMPERATURE).softmax(2).mean(0)


def write(content: Any, file: Path) -> None:
    """Save it so that the file is either whole or not there, whoever else writes it at the same time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(f".{os.getpid()}")
    torch.save(content, unfinished)
    unfinished.replace(file)


def in_float32(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return forward(x.float()).to(x.dtype)


def spare_slow_convs(model: nn.Module) -> None:
    """Strided depthwise convs go in float32: on a CPU, their backward takes ten times as long and more in bf16."""
    for conv in model.modules():
        if isinstance(conv, nn.Conv2d) and conv.groups > 1 and max(conv.stride) > 1:
            conv.forward = partial(in_float32, conv.forward)


class Run:
    """A model on its way: weights, their running mean, the optimizers, the epochs behind it."""

    def __init__(self, name: str, device: torch.device):
        self.name, self.device, self.recipe, self.epoch = name, device, RECIPES[name], 0
        torch.manual_seed(self.recipe.seed)
        start = load(self.recipe.start).requires_grad_(True) if self.recipe.start else create(name)
        self.model = start.to(device).to(memory_format=torch.channels_last)
        average = get_ema_multi_avg_fn(self.recipe.ema)
        self.mean = AveragedModel(self.model, multi_avg_fn=average, use_buffers=True)
        self.optimizers = Optimizers(self.model, self.recipe)
        self.teachers = Teachers(self.recipe, device) if self.recipe.teachers else None
        self.attention = [SDPBackend.MATH] if device.type == "cpu" else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
        self.file = RUNS / f"{name}.pt"
        self.parts = {"model": self.model, "mean": self.mean, **self.optimizers.members}
        if self.file.exists():
            saved = torch.load(self.file, map_location=device, weights_only=True)
            if Recipe(**saved["recipe"]) != self.recipe:
                raise SystemExit(f"{self.file} was trained by another recipe; move it away to start anew.")
            self.epoch = saved["epoch"]
            for part, state in self.parts.items():
                state.load_state_dict(saved[part])
        if device.type == "cpu":
            spare_slow_convs(self.model)

    @property
    def view(self) -> int:
        """Which of the views of the photos this epoch shows."""
        return self.epoch % VIEWS if self.recipe.teachers else self.epoch

    def save(self) -> None:
        state = {part: owner.state_dict() for part, owner in self.parts.items()}
        write(state | {"epoch": self.epoch, "recipe": asdict(self.recipe)}, self.file)

    def rate(self, progress: float) -> float:
        """Share of the full learning rate at a point of the run, from 0 to 1."""
        warmup = self.recipe.warmup
        return min(progress / warmup, (1 - progress) / (1 - warmup))

    def batches(self, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor, float]]:
        """Give (pictures, targets, progress of the whole run from 0 to 1); the same for an epoch however often run."""
        rng = torch.Generator().manual_seed(1000 * self.recipe.seed + self.view)
        steps = len(x) // self.recipe.batch
        order = torch.randperm(len(x), generator=rng)[: steps * self.recipe.batch].view(steps, -1)
        for step, chosen in enumerate(order.to(x.device)):
            progress = (self.epoch + (step + 0.5) / steps) / self.recipe.epochs
            images, target = augment(x[chosen], y[chosen], self.recipe, rng)
            yield images, target, progress

    def train_epoch(self, x: Tensor, y: Tensor) -> float:
        """Go through the photos once; give the mean loss."""
        pictures = (images for images, _, _ in self.batches(x, y))
        answers = self.teachers.answers(self.view, pictures) if self.teachers else None
        self.model.train()
        total, steps = 0.0, len(x) // self.recipe.batch
        bar = tqdm(self.batches(x, y), f"{self.name} {self.epoch + 1}/{self.recipe.epochs}", steps, mininterval=5)
        for step, (images, target, progress) in enumerate(bar):
            # On a CPU, the fused attention's backward takes twice as long as plain matrix products.
            with torch.autocast(self.device.type, torch.bfloat16), sdpa_kernel(self.attention):
                logits = self.model(shrunk(images) if progress < self.recipe.coarse else images)
            loss = F.cross_entropy(logits.float(), target, label_smoothing=self.recipe.smoothing)
            if answers is not None:
                loss = torch.lerp(loss, distillation(logits, answers[step]), TAUGHT)
            loss.backward()
            self.optimizers.step(self.rate(progress))
            self.mean.update_parameters(self.model)
            total += loss.item()
        self.epoch += 1
        return total / steps


def export_run(run: Run, x: Tensor, y: Tensor) -> None:
    """Put the running mean into the bundle, with how it came about."""
    usual = {field.name: field.default for field in fields(Recipe)}
    plain = asdict(run.recipe) | {"teachers": " and ".join(run.recipe.teachers)}
    told = [f"{key} {plain[key]}" for key in usual if getattr(run.recipe, key) != usual[key] and key not in APART]
    facts = {
        "recipe": ", ".join(["Muon and AdamW", *told]),
        "epochs": run.recipe.epochs,
        "device": f"{device_name(run.device)}, bf16",
        "seed": run.recipe.seed,
    }
    export(run.name, run.mean.module.state_dict(), facts, x, y)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="+", choices=RECIPES)
    parser.add_argument("--data", type=Path, required=True, help="cifar10.tar")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    photos = read_photos(args.data)
    margins = ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0))
    train_x = torch.from_numpy(np.pad(photos["train_x"].numpy(), margins, mode="reflect")).to(device)
    train_y, test_x, test_y = (photos[k].to(device) for k in ("train_y", "test_x", "test_y"))
    for name in args.names:
        run = Run(name, device)
        while run.epoch < run.recipe.epochs:
            start = time.perf_counter()
            loss = run.train_epoch(train_x, train_y)
            run.save()
            reached, seconds = accuracy(run.mean, test_x, test_y), time.perf_counter() - start
            print(f"{name} epoch {run.epoch}: loss {loss:.3f}, test {reached:.2f} %, {seconds:.0f} s", flush=True)
        export_run(run, test_x, test_y)


if __name__ == "__main__":
    main()
