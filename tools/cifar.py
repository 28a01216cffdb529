"""CIFAR-10 as photos of 32x32 in a tar: train/CLASS/*.jpg and test/CLASS/*.jpg."""

import io
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from zoo.catalogue import NORMS

RUNS = Path(__file__).parent.parent / "runs"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN, STD = NORMS["cifar"]


def read_photos(tar: Path) -> dict[str, Tensor]:
    """Decode the tar: {train,test}_{x,y} with x (N, 32, 32, 3) uint8 and y (N,) int64. Cached in runs/."""
    cache = RUNS / "cifar10.npz"
    if not cache.exists():
        photos: dict[str, list] = {f"{half}_{part}": [] for half in ("train", "test") for part in "xy"}
        with tarfile.open(tar) as archive:
            for member in tqdm(archive, desc="decode", unit=" photo"):
                if not member.name.endswith(".jpg"):
                    continue
                half, label, _ = member.name.split("/")[-3:]
                file = archive.extractfile(member)
                assert file is not None
                photos[f"{half}_x"].append(np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB")))
                photos[f"{half}_y"].append(CLASSES.index(label))
        arrays = {k: np.stack(v) if k.endswith("x") else np.array(v) for k, v in photos.items()}
        RUNS.mkdir(exist_ok=True)
        np.savez(cache, allow_pickle=False, **arrays)
    return {k: torch.from_numpy(v) for k, v in np.load(cache).items()}


def normalize(x: Tensor) -> Tensor:
    """uint8 (B, H, W, 3) -> float (B, 3, H, W), channels last in memory."""
    mean, std = (torch.tensor(v, device=x.device) for v in (MEAN, STD))
    return ((x.float() / 255 - mean) / std).permute(0, 3, 1, 2)


@torch.inference_mode()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Percentage of the photos uint8 (N, 32, 32, 3) whose first guess is right."""
    model.eval()
    guesses = torch.cat([model(normalize(part)).argmax(1) for part in x.split(500)])
    return 100 * (guesses == y).float().mean().item()
