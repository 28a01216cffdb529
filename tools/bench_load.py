"""Time and memory of building an architecture and loading a float32 file into it: the zoo against timm.

Each reading is a new process, for only there is the most memory ever held that of the loading. Both sides have
imported their architectures before the clock starts, and the file has been read once, so that the disk plays no part.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

import zoo
from engine.latency import summary
from tools.bench_table import Load
from tools.fill import fill
from tools.oracle import timm

SIDES = "zoo", "timm"
FIGURES = "ms", "answered_ms", "peak_mb", "private_mb", "peak_answered_mb"


def compare(name: str, runs: int) -> Iterator[Load]:
    """Load one architecture's file `runs` times by each side, taking turns; yield what each side took."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        safetensors.torch.save_file(
            {key: value.float() for key, value in fill(timm.create_model(name).state_dict()).items()}, file
        )
        found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for _ in range(runs):
            for side in SIDES:
                command = [sys.executable, "-m", "tools.bench_load", side, name, file, torch.get_num_threads()]
                line = subprocess.check_output(list(map(str, command)), text=True).splitlines()[-1]
                found[side].append(json.loads(line))
                print(f"{name}: {side} {line}", flush=True)
    for side, readings in found.items():
        ms, *others = ([reading[figure] for reading in readings] for figure in FIGURES)
        yield Load(name, side, *summary(ms), runs, *(summary(other)[0] for other in others))


def build(side: str, name: str, file: str) -> nn.Module:
    if side == "zoo":
        return zoo.load_file(file, name)
    model = timm.create_model(name)
    model.load_state_dict(safetensors.torch.load_file(file))
    return model.eval()


def read_once(side: str, name: str, file: str) -> dict[str, float]:
    """Load the file in this process, then compute one output.

    Milliseconds from the call, and growth of memory in megabytes: the names are those of FIGURES.
    """
    zoo.names()  # imports the families, as the import of timm did with its own
    x = torch.randn(1, 3, *zoo.native(name)[1:3])
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is held now
    held, private = megabytes("VmHWM"), megabytes("RssAnon")
    start = time.perf_counter()
    model = build(side, name, file)
    loaded = time.perf_counter()
    figures = {"peak_mb": megabytes("VmHWM") - held, "private_mb": megabytes("RssAnon") - private}
    with torch.inference_mode():
        before = time.perf_counter()
        model(x)
        forward = time.perf_counter() - before
    figures |= {"ms": 1000 * (loaded - start), "answered_ms": 1000 * (loaded - start + forward)}
    return figures | {"peak_answered_mb": megabytes("VmHWM") - held}


def megabytes(field: str) -> float:
    """A field of this process's status, in megabytes (10^6 bytes)."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(rf"{field}:\s*(\d+) kB", status)[0]) * 1024 / 1e6


if __name__ == "__main__":
    side, name, file, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    print(json.dumps({figure: round(value, 2) for figure, value in read_once(side, name, file).items()}))
