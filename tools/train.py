"""Train a bundled checkpoint on CIFAR-10, on a CPU or a GPU. Training may be stopped at any time and resumes.

    python -m tools.train resnet32_cifar --data cifar10.tar

The recipes are in tools/recipes.py. Runs that a recipe builds on are trained first, unless they are bundled. Each epoch
is saved to runs/RUN.pt; after the last one, tools/bundle.py puts the weights into zoo/bundled.
"""

import argparse
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
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

from engine.latency import device_name
from tools.bundle import export, records
from tools.cifar import CLASSES, RUNS, accuracy, normalize, read_photos
from tools.recipes import LAST, RECIPES, Recipe, architecture
from zoo.base import Backbone
from zoo.registry import create, create_from
from zoo.weights import load

MARGIN = 4  # pixels by which a training image may be shifted
APART = "epochs", "seed"  # fields of a recipe that have their own columns in the bundle's table
TEMPERATURE, TAUGHT = 2.0, 0.9  # of the teachers' answers; their share of the loss
VIEWS = 12  # epochs after which a student sees the same images again, to reuse its teachers' cached answers
COARSE = 24  # side of the images at the start of a run, if its recipe says so


def augment(x: Tensor, y: Tensor, recipe: Recipe, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Shift, mirror, cut out and mix. uint8 (B, 40, 40, 3) with margins, labels (B,) -> (B, 3, 32, 32), (B, 10)."""
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


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device has bfloat16 arithmetic; a processor without it takes several times as long as in float32."""
    return device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def mixed_precision(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=multiplies_bf16(device))


class Optimizers:
    """Muon (arXiv 2502.16982) for weights that mix features, AdamW for all others; both update the model in place."""

    def __init__(self, model: Backbone, recipe: Recipe):
        mixing, rest = [], []
        for name, p in model.named_parameters():
            mixes = p.ndim in (2, 4) and p.shape[1] > 1 and not name.startswith(model.classifier_key)
            (mixing if mixes else rest).append(p)
        # Muon needs matrices: a kernel (O, I, h, w) of channels-last memory is seen as (O, h * w * I).
        self.matrices = [(p, nn.Parameter(as_matrix(p.data))) for p in mixing]
        matrices = [matrix for _, matrix in self.matrices]
        muon = torch.optim.Muon(matrices, recipe.lr, recipe.weight_decay, momentum=0.95, adjust_lr_fn="match_rms_adamw")
        adamw = torch.optim.AdamW(rest, recipe.rest_lr, betas=(0.9, 0.99), weight_decay=0.0)
        self.members = {"muon": muon, "adamw": adamw}
        self.full_rates = {"muon": recipe.lr, "adamw": recipe.rest_lr}

    def step(self, rate: float) -> None:
        """Update every parameter at `rate` times its full learning rate, and clear the gradients."""
        for p, matrix in self.matrices:
            assert p.grad is not None
            matrix.grad, p.grad = as_matrix(p.grad), None
        for name, member in self.members.items():
            for group in member.param_groups:
                group["lr"] = rate * self.full_rates[name]
            member.step()
            member.zero_grad()


def as_matrix(x: Tensor) -> Tensor:
    return x if x.ndim == 2 else x.permute(0, 2, 3, 1).view(len(x), -1)


def shrunk(images: Tensor) -> Tensor:
    return F.interpolate(images, COARSE, mode="bilinear", antialias=True)


def distillation(logits: Tensor, answers: Tensor) -> Tensor:
    """Distance of softened logits from softened answers, both (B, classes) (Hinton et al. 2015, arXiv:1503.02531)."""
    own = (logits.float() / TEMPERATURE).log_softmax(1)
    return TEMPERATURE**2 * F.kl_div(own, answers, reduction="batchmean")


class Teachers:
    """Models whose answers are averaged; the answers to each view of the photos are cached in runs/."""

    def __init__(self, models: list[Backbone], recipe: Recipe, device: torch.device):
        self.models, self.device = models, device
        view = recipe.batch, recipe.cutout, recipe.cutmix, recipe.seed
        key = hashlib.sha256(repr((view, TEMPERATURE)).encode())
        for model in models:
            key.update(torch.cat([p.detach().flatten() for p in model.parameters()]).cpu().numpy())
        self.kept = RUNS / "answers" / key.hexdigest()[:12]

    def answers(self, view: int, batches: Iterable[Tensor]) -> Tensor:
        """The mean softened answers to the images (batch, 3, H, W) of a view: (steps, batch, classes)."""
        file = self.kept / f"{view}.pt"
        if not file.exists():
            given = torch.stack([self.ask(images) for images in tqdm(batches, f"answers {view + 1}", mininterval=5)])
            write(given.half(), file)
        return torch.load(file, map_location=self.device, weights_only=True).float()

    @torch.inference_mode()
    def ask(self, images: Tensor) -> Tensor:
        with mixed_precision(self.device):
            logits = torch.stack([model(images) for model in self.models])
        return (logits.float() / TEMPERATURE).softmax(2).mean(0)


def write(content: Any, file: Path) -> None:
    """Save so that the file is either complete or absent, even if another process writes it at the same time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(f".{os.getpid()}")
    torch.save(content, unfinished)
    unfinished.replace(file)


def in_float32(forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return forward(x.float()).to(x.dtype)


def spare_slow_convs(model: nn.Module) -> None:
    """Run strided depthwise convs in float32: on a CPU, their backward takes at least ten times as long in bf16."""
    for conv in model.modules():
        if isinstance(conv, nn.Conv2d) and conv.groups > 1 and max(conv.stride) > 1:
            conv.forward = partial(in_float32, conv.forward)


@dataclass(frozen=True)
class Photos:
    """CIFAR-10 on a device: uint8 images (N, H, W, 3), the training ones with margins, and their labels (N,)."""

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor

    @classmethod
    def read(cls, tar: Path, device: torch.device) -> "Photos":
        photos = read_photos(tar)
        margins = ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0))
        train_x = torch.from_numpy(np.pad(photos["train_x"].numpy(), margins, mode="reflect"))
        return cls(*(x.to(device) for x in (train_x, photos["train_y"], photos["test_x"], photos["test_y"])))


class Run:
    """A model in training: weights, their running mean, the optimizers, and the number of epochs done."""

    def __init__(self, name: str, start: Backbone, teachers: list[Backbone], device: torch.device):
        self.name, self.device, self.recipe, self.epoch = name, device, RECIPES[name], 0
        self.model = start.to(device).to(memory_format=torch.channels_last)
        average = get_ema_multi_avg_fn(self.recipe.ema)
        self.mean = AveragedModel(self.model, multi_avg_fn=average, use_buffers=True)
        self.optimizers = Optimizers(self.model, self.recipe)
        self.teachers = Teachers(teachers, self.recipe, device) if teachers else None
        self.attention = [SDPBackend.MATH] if device.type == "cpu" else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
        self.parts = {"model": self.model, "mean": self.mean, **self.optimizers.members}
        if device.type == "cpu":
            spare_slow_convs(self.model)

    @property
    def view(self) -> int:
        """The number of the view of the photos in this epoch."""
        return self.epoch % VIEWS if self.recipe.teachers else self.epoch

    def resume(self, saved: dict[str, Any]) -> None:
        self.epoch = saved["epoch"]
        for part, owner in self.parts.items():
            owner.load_state_dict(saved[part])

    def save(self) -> None:
        state = {part: owner.state_dict() for part, owner in self.parts.items()}
        write(state | {"epoch": self.epoch, "recipe": asdict(self.recipe)}, RUNS / f"{self.name}.pt")

    def rate(self, progress: float) -> float:
        """Share of the full learning rate at a point of the run, from 0 to 1."""
        warmup = self.recipe.warmup
        return min(progress / warmup, (1 - progress) / (1 - warmup))

    def batches(self, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor, float]]:
        """Yield (images, targets, progress of the run from 0 to 1); an epoch is the same every time it is run."""
        rng = torch.Generator().manual_seed(1000 * self.recipe.seed + self.view)
        steps = len(x) // self.recipe.batch
        order = torch.randperm(len(x), generator=rng)[: steps * self.recipe.batch].view(steps, -1)
        for step, chosen in enumerate(order.to(x.device)):
            progress = (self.epoch + (step + 0.5) / steps) / self.recipe.epochs
            images, target = augment(x[chosen], y[chosen], self.recipe, rng)
            yield images, target, progress

    def train_epoch(self, x: Tensor, y: Tensor) -> float:
        """Train on all photos once; return the mean loss."""
        shown = (images for images, _, _ in self.batches(x, y))
        answers = self.teachers.answers(self.view, shown) if self.teachers else None
        self.model.train()
        total, steps = 0.0, len(x) // self.recipe.batch
        bar = tqdm(self.batches(x, y), f"{self.name} {self.epoch + 1}/{self.recipe.epochs}", steps, mininterval=5)
        for step, (images, target, progress) in enumerate(bar):
            # On a CPU, the fused attention's backward takes twice as long as plain matrix products.
            with mixed_precision(self.device), sdpa_kernel(self.attention):
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


def saved_run(name: str) -> dict[str, Any] | None:
    """The last saved epoch of a run; None before the first."""
    file = RUNS / f"{name}.pt"
    if not file.exists():
        return None
    saved = torch.load(file, map_location="cpu", weights_only=True)
    if Recipe(**saved["recipe"]) != RECIPES[name]:
        raise SystemExit(f"{file} was trained by another recipe: move it away to start again.")
    return saved


def outcome(name: str, photos: Photos) -> Backbone:
    """The final model of a run: the bundled one if this run made it, otherwise trained here."""
    trained = architecture(name)
    checkpoint = f"{trained}.cifar10"
    bundled = records().get(checkpoint)
    if bundled and bundled["run"] == name:
        model = load(checkpoint)
    else:
        model = create_from(trained, train(name, photos))
    return model.to(photos.test_x.device).to(memory_format=torch.channels_last)


def train(name: str, photos: Photos) -> dict[str, Tensor]:
    """Train the remaining epochs of a run; return the running mean of the weights."""
    recipe, saved = RECIPES[name], saved_run(name)
    if saved and saved["epoch"] == recipe.epochs:
        return {k.removeprefix("module."): v for k, v in saved["mean"].items() if k.startswith("module.")}
    teachers = [outcome(teacher, photos) for teacher in recipe.teachers]
    torch.manual_seed(recipe.seed)
    if recipe.start and not saved:
        start = outcome(recipe.start, photos).requires_grad_(True)
    else:
        start = create(architecture(name))
    run = Run(name, start, teachers, photos.test_x.device)
    if saved:
        run.resume(saved)
    while run.epoch < recipe.epochs:
        began = time.perf_counter()
        loss = run.train_epoch(photos.train_x, photos.train_y)
        run.save()
        reached, seconds = accuracy(run.mean, photos.test_x, photos.test_y), time.perf_counter() - began
        print(f"{name} epoch {run.epoch}: loss {loss:.3f}, test {reached:.2f} %, {seconds:.0f} s", flush=True)
    return run.mean.module.state_dict()


def told(recipe: Recipe) -> str:
    """A recipe in words, for the table of the bundle: the fields that differ from their defaults."""
    usual = {field.name: field.default for field in fields(Recipe)}
    plain = asdict(recipe) | {"teachers": " and ".join(recipe.teachers)}
    parts = [f"{key} {plain[key]}" for key in usual if getattr(recipe, key) != usual[key] and key not in APART]
    return ", ".join(["Muon and AdamW", *parts])


def put_on_record(name: str, weights: dict[str, Tensor], photos: Photos) -> None:
    """Put the final weights of a run into the bundle, with how they were trained."""
    recipe, device = RECIPES[name], photos.test_x.device
    facts = {
        "run": name,
        "recipe": told(recipe),
        "epochs": recipe.epochs,
        "device": f"{device_name(device)}, {'bf16' if multiplies_bf16(device) else 'float32'}",
        "seed": recipe.seed,
    }
    export(architecture(name), weights, facts, photos.test_x, photos.test_y)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("architectures", nargs="+", choices=LAST)
    parser.add_argument("--data", type=Path, required=True, help="cifar10.tar")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    photos = Photos.read(args.data, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    for trained in args.architectures:
        name = LAST[trained]
        put_on_record(name, train(name, photos), photos)


if __name__ == "__main__":
    main()
