"""The benchmark's results: rows of CSV files that are written as soon as they are measured, and their means."""

import csv
import datetime
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import torch

from engine.latency import device_name
from tools.roofline import Roofline

PACKAGES = "torch", "timm", "onnxruntime", "openvino"


@dataclass(frozen=True)
class Row:
    """What one path took for one architecture. A path that could not be measured has a note and no figures."""

    architecture: str
    path: str
    median_ms: float | None = None
    p90_ms: float | None = None  # nine calls in ten took no longer
    n: int | None = None  # counted calls
    speed: float | None = None  # timm eager's median over this one, both of the same rounds
    least_ms: float | None = None  # the roofline's, in the path's number format
    share: float | None = None  # least_ms over median_ms
    difference: float | None = None  # largest absolute change of an output against zoo plain
    largest: float | None = None  # magnitude among zoo plain's outputs
    prepare_s: float | None = None  # to compile, pack or load the model, first call included; an export is left out
    note: str = ""  # why the path was skipped, or what it left as it was


@dataclass(frozen=True)
class Load:
    """What building an architecture and loading a file takes, in new processes: medians over `n` of them."""

    architecture: str
    path: str
    median_ms: float  # from the call to the model in eval mode
    p90_ms: float
    n: int
    answered_ms: float  # from the call to the first output: a file that is mapped may be read only then
    peak_mb: float  # growth of the most memory held at once (VmHWM), up to the loaded model
    private_mb: float  # growth of memory that no file backs (RssAnon), at the loaded model
    peak_answered_mb: float  # as peak_mb, up to the first output


Kept = TypeVar("Kept", Row, Load)


def read(path: Path, kind: type[Kept]) -> list[Kept]:
    """The rows of a file; none if there is no file."""
    if not path.is_file():
        return []
    kinds = {field.name: field.type for field in fields(kind)}
    with path.open(newline="") as file:
        return [kind(**{key: parsed(text, kinds[key]) for key, text in line.items()}) for line in csv.DictReader(file)]


def parsed(text: str, kind: Any) -> Any:
    if kind is str:
        return text
    if not text:
        return None
    return int(text) if kind in (int, int | None) else float(text)


def replace(path: Path, rows: Sequence[Kept]) -> None:
    """Write rows in place of those of the same architecture and path; the other rows of the file stay."""
    kept = {(row.architecture, row.path): row for row in [*read(path, type(rows[0])), *rows]}
    write(path, [field.name for field in fields(rows[0])], [list(asdict(row).values()) for row in kept.values()])


def write(path: Path, header: list[str], lines: Iterable[Sequence[Any]]) -> None:
    """Write a whole file, or none of it if the program is stopped meanwhile. Floats have four digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    with partial.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([f"{x:.4g}" if isinstance(x, float) else x for x in line] for line in lines)
    partial.replace(path)


def missing(rows: Sequence[Row] | Sequence[Load], names: Sequence[str], paths: Sequence[str]) -> list[str]:
    """The architectures of which a file does not have every path yet, in the order of `names`."""
    there = {(row.architecture, row.path) for row in rows}
    return [name for name in names if not {(name, path) for path in paths} <= there]


def means(rows: Sequence[Row]) -> dict[str, tuple[float, int]]:
    """By path: geometric mean of its speeds over timm eager, and over how many architectures."""
    speeds: dict[str, list[float]] = {}
    for row in rows:
        if row.speed is not None:
            speeds.setdefault(row.path, []).append(row.speed)
    return {path: (statistics.geometric_mean(of), len(of)) for path, of in speeds.items()}


def machine() -> dict[str, str]:
    """What must be equal for two runs to be rows of one table."""
    facts = {"cpu": device_name(torch.device("cpu")), "cores": str(os.cpu_count())}
    facts |= {"threads": str(torch.get_num_threads()), "python": platform.python_version()}
    return facts | {package: installed(package) for package in PACKAGES}


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def write_machine(path: Path, facts: dict[str, str], roof: Roofline) -> None:
    """Write what the machine is and its rates, in GFLOP/s and GB/s, one fact a line."""
    rates = {
        "float32_gflops": (roof.float32, roof.reached_by[0]),
        "bfloat16_gflops": (roof.bfloat16, roof.reached_by[1]),
        "bandwidth_gbs": (roof.bandwidth, roof.reached_by[2]),
    }
    lines = [(fact, value, "") for fact, value in (facts | {"date": datetime.date.today().isoformat()}).items()]
    write(path, ["fact", "value", "reached_by"], lines + [(k, rate / 1e9, by) for k, (rate, by) in rates.items()])


def read_machine(path: Path) -> tuple[dict[str, str], Roofline] | None:
    """What `write_machine` wrote, without the date; None if there is no file."""
    if not path.is_file():
        return None
    with path.open(newline="") as file:
        lines = {line["fact"]: line for line in csv.DictReader(file)}
    del lines["date"]
    rates = [lines.pop(key) for key in ("float32_gflops", "bfloat16_gflops", "bandwidth_gbs")]
    float32, bfloat16, bandwidth = (1e9 * float(rate["value"]) for rate in rates)
    by = rates[0]["reached_by"], rates[1]["reached_by"], rates[2]["reached_by"]
    return {fact: line["value"] for fact, line in lines.items()}, Roofline(float32, bfloat16, bandwidth, by)
