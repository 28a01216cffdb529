"""A network is trained to tell shapes on noise apart: its maps must lie on the shape, more than a random map does."""

import torch
import torch.nn.functional as F

import explain
import zoo
from explain.faithfulness import random_map

SIDE, SHAPE = 32, 12


def stamps() -> torch.Tensor:
    """A disc, a frame, a cross and stripes. (4, SHAPE, SHAPE) of 0 and 1."""
    y, x = torch.meshgrid(torch.arange(SHAPE), torch.arange(SHAPE), indexing="ij")
    middle = (SHAPE - 1) / 2
    disc = (y - middle).square() + (x - middle).square() < 36
    frame = (y < 3) | (y > 8) | (x < 3) | (x > 8)
    cross = ((y - middle).abs() < 2) | ((x - middle).abs() < 2)
    return torch.stack([disc, frame, cross, y % 4 < 2]).float()


def images(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images (N, 3, SIDE, SIDE), their classes (N,), and masks of the shapes (N, SIDE, SIDE)."""
    rng = torch.Generator().manual_seed(seed)
    label = torch.randint(4, (count,), generator=rng)
    corner = torch.randint(SIDE - SHAPE + 1, (count, 2), generator=rng)
    x = torch.randn(count, 3, SIDE, SIDE, generator=rng) / 2
    place = torch.zeros(count, SIDE, SIDE)
    for i, (top, left) in enumerate(corner.tolist()):
        x[i, :, top : top + SHAPE, left : left + SHAPE] += 2 * stamps()[label[i]]
        place[i, top : top + SHAPE, left : left + SHAPE] = 1
    return x, label, place


def learned(steps: int = 60) -> zoo.Backbone:
    torch.manual_seed(0)
    model = zoo.create("resnet20_cifar", num_classes=4).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    cooling = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0, steps)
    for step in range(steps):
        x, label, _ = images(48, seed=step)
        F.cross_entropy(model(x), label).backward()
        optimizer.step()
        cooling.step()
        optimizer.zero_grad()
    return model.eval().requires_grad_(False)


def share_on(maps: torch.Tensor, place: torch.Tensor) -> float:
    """Mean share of the maps' positive mass (N, h, w) that lies on the shapes (N, SIDE, SIDE)."""
    mass = F.interpolate(maps.clamp(min=0)[:, None], (SIDE, SIDE), mode="bilinear")[:, 0]
    return ((mass * place).sum((1, 2)) / mass.sum((1, 2))).mean().item()


def test_maps_of_a_trained_network_lie_on_the_shape():
    model = learned()
    x, label, place = images(64, seed=1_000)
    with torch.inference_mode():
        assert (model(x).argmax(1) == label).float().mean() > 0.9
    by_chance = share_on(torch.stack([random_map(image, seed) for seed, image in enumerate(x)]), place)
    for method in ("grad_cam", "layer_cam", "occlusion", "smooth_grad"):
        few = {"window": 8} if method == "occlusion" else {}
        maps = explain.explain(model, x[:16], method, target=label[:16].tolist(), **few).raw
        found = share_on(maps, place[:16])
        assert found > by_chance + 0.2, f"{method}: {found:.2f}, a random map {by_chance:.2f}"
