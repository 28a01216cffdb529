"""The ways to one forward pass of one architecture, timed against each other: the zoo's, timm's and other runtimes'.

All hold the same weights, take the same float32 image in PyTorch's default layout, and give float32 outputs.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._inductor import config as inductor
from torch._inductor.utils import fresh_cache

import zoo
from engine.latency import summary
from tools.bench_table import Row
from tools.fill import fill
from tools.oracle import build
from tools.roofline import Roofline
from tools.rounds import interleave

Run = Callable[[], Tensor]

BASE = "timm eager"  # what speeds are relative to
TRUTH = "zoo plain"  # what outputs are compared with
SETTLE, COUNTED = 1, 3  # calls of a side in its turn


class Subject:
    """One architecture twice, in the zoo and in timm, with the same weights, and an image for it, (1, 3, H, W)."""

    def __init__(self, name: str, folder: Path | None = None):
        """Build both; if a `folder` is given, write timm's model there as ONNX, or keep the error that this raised.

        The weights are filled: with timm's own, zeros would silence a last layer or a block, and hide its mistakes.
        """
        self.name = name
        self.theirs = build(name).requires_grad_(False)
        self.theirs.load_state_dict(fill(self.theirs.state_dict()))
        self.ours = zoo.create_from(name, self.theirs.state_dict()).requires_grad_(False)
        height, width = self.theirs.pretrained_cfg["input_size"][1:]
        self.cost = zoo.cost(name, (height, width))
        self.x = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
        self.exported: Path | Exception | None = None
        if folder is not None:
            try:
                self.exported = export(self.theirs, self.x, folder / f"{name}.onnx")
            except Exception as error:  # an exporter can fail in any way
                self.exported = error

    def onnx(self) -> Path:
        if isinstance(self.exported, Path):
            return self.exported
        raise ValueError(f"its export to ONNX failed: {self.exported}")


def export(model: nn.Module, x: Tensor, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the exporter itself will change some day
        torch.onnx.export(model, (x,), path, dynamo=True, verbose=False)
    return path


def zoo_fast(subject: Subject, dtype: torch.dtype) -> tuple[Run, str]:
    fast = zoo.accelerate(subject.ours, subject.x, dtype=dtype)
    return lambda: fast(subject.x), left_in_words(fast.left)


def left_in_words(left: dict[str, str]) -> str:
    """Say what was left as it was: the whole model and why, or how many layers and why the first one."""
    if "" in left:
        return f"not accelerated: {left['']}"
    path, why = next(iter(left.items()), ("", ""))
    return f"{len(left)} left as they were, {path}: {why}" if left else ""


def channels_last(subject: Subject) -> tuple[Run, str]:
    model = deepcopy(subject.theirs).to(memory_format=torch.channels_last)
    return lambda: model(subject.x.contiguous(memory_format=torch.channels_last)), ""


def compiled(subject: Subject) -> tuple[Run, str]:
    """Compile with weights frozen, which packs them, and with nothing kept from an earlier compilation.

    Freezing is set for the whole of Inductor: torch 2.13 accepts it among `torch.compile`'s options, without effect,
    and a ResNet-50 then takes twice the time.
    """
    torch.compiler.reset()
    model = torch.compile(subject.theirs)
    with fresh_cache(), inductor.patch(freezing=True):
        model(subject.x)
    return lambda: model(subject.x), ""


def onnxruntime(subject: Subject) -> tuple[Run, str]:
    import onnxruntime  # pyright: ignore[reportMissingImports]  # `make bench` installs it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Its threads otherwise wait for the next call in a busy loop, and take the cores from whatever is timed next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(subject.onnx(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda: torch.from_numpy(session.run(None, {name: subject.x.numpy()})[0]), ""


def openvino(subject: Subject) -> tuple[Run, str]:
    import openvino  # pyright: ignore[reportMissingImports]  # `make bench` installs it

    config: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",  # it would choose bfloat16 by itself where a CPU has it
        "ENABLE_CPU_PINNING": False,  # it would also tie this process's own thread to a core
    }
    model = openvino.compile_model(subject.onnx(), "CPU", config)
    request = model.create_infer_request()
    return lambda: torch.from_numpy(request.infer([subject.x.numpy()], share_inputs=True)[0]), ""


PATHS: dict[str, Callable[[Subject], tuple[Run, str]]] = {
    TRUTH: lambda subject: (lambda: subject.ours(subject.x), ""),
    "zoo fast": lambda subject: zoo_fast(subject, torch.float32),
    "zoo fast bf16": lambda subject: zoo_fast(subject, torch.bfloat16),
    BASE: lambda subject: (lambda: subject.theirs(subject.x), ""),
    "timm channels last": channels_last,
    "timm compiled": compiled,
    "onnxruntime": onnxruntime,
    "openvino": openvino,
}
FROM_EXPORT = {"onnxruntime", "openvino"}


def compare(subject: Subject, paths: Sequence[str], roof: Roofline, seconds: float, least: int) -> list[Row]:
    """Time the paths in rounds for `seconds`, each at least `least` times; a path that fails has a row that says why.

    TRUTH and BASE must be among the paths.
    """
    runs: dict[str, Run] = {}
    outputs: dict[str, Tensor] = {}
    facts: dict[str, dict[str, Any]] = {}
    with torch.inference_mode():
        for path in paths:
            print(f"{subject.name}: {path} ...", flush=True)
            start = time.perf_counter()
            try:
                run, note = PATHS[path](subject)
                outputs[path] = run().clone()
            except Exception as error:  # whatever another runtime raises for a model
                facts[path] = {"note": f"skipped: {reason(error)}"}
                print(f"    {facts[path]['note']}", flush=True)
                continue
            runs[path] = run
            facts[path] = {"note": note, "prepare_s": time.perf_counter() - start}
        times = interleave(list(runs.values()), seconds, least, SETTLE, COUNTED)
    summaries = dict(zip(runs, map(summary, times), strict=True))
    for path, kept in zip(runs, times, strict=True):
        (median, p90), expected = summaries[path], outputs[TRUTH]
        least_ms = roof.least_ms(subject.cost, torch.bfloat16 if path.endswith("bf16") else torch.float32)
        facts[path] |= {"median_ms": median, "p90_ms": p90, "n": len(kept), "speed": summaries[BASE][0] / median}
        facts[path] |= {"least_ms": least_ms, "share": least_ms / median}
        facts[path] |= {"difference": (outputs[path] - expected).abs().max().item()}
        facts[path] |= {"largest": expected.abs().max().item()}
    return [Row(subject.name, path, **facts[path]) for path in paths]


def reason(error: Exception) -> str:
    """The first line of an error's text, or its kind where it has none. At most 200 characters."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
