"""From a checkpoint's name to a model that holds its weights.

    name -> a file (zoo/bundled, Hugging Face's cache, or a download) -> tensors by key -> the architecture

Whatever goes wrong is a WeightsError: one sentence that says what happened and what to do.
"""

import errno
import hashlib
import http.client
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from uuid import uuid4

import huggingface_hub as hub
import safetensors.torch
import torch
from huggingface_hub import constants, errors
from huggingface_hub.utils import tqdm
from torch import Tensor

from zoo import catalogue
from zoo.base import Backbone
from zoo.catalogue import Checkpoint
from zoo.registry import create, create_from, variant

Progress = Callable[[int, int], None]  # bytes that are here, bytes in all (0: not known)

FILES = "model.safetensors", "pytorch_model.bin"  # what a Hub repository may hold, the one without code first
SUMS = "SHA256SUMS"  # in zoo/bundled, as `sha256sum *.safetensors` writes it
_NESTS = "state_dict_ema", "model_ema", "state_dict", "model", "module", "encoder"  # averaged weights first
_HASH = re.compile(r"-([0-9a-f]{8,})\.")  # file names in PyTorch's manner hold the first digits of their SHA-256
_TIMEOUT = 10  # seconds without an answer

_HTTP_ERROR: type[Exception] = errors.HfHubHTTPError.__mro__[1]  # httpx's in huggingface_hub 1, httpx2's in 2
_TROUBLE = _HTTP_ERROR, http.client.HTTPException, OSError, RuntimeError, ValueError  # xet: the last two
_FOREIGN = RuntimeError, LookupError, ValueError, TypeError, AttributeError  # what another model's file may lead to


class WeightsError(Exception):
    """A checkpoint could not be loaded; the message is one sentence for the person who asked for it."""


def load(checkpoint: str | Checkpoint, *, progress: Progress | None = None, **overrides: Any) -> Backbone:
    """Load a checkpoint into its architecture: eval mode, float32, parameters frozen; `overrides` go to the config.

    A file on this machine is taken without asking the network; `progress` hears of a download's bytes. A WeightsError
    says that the name is unknown, or that the file cannot be had, does not fit, or is more than the memory holds.
    """
    row = _row(checkpoint)
    _variant(row.architecture)  # before a download in vain
    path = _local(row)
    if path is None:
        filename, size = _remote(row)
        check_memory(row.name, size)
        path = _retrieve(row, filename, size, progress)
    elif path == row.file:
        _check_sum(path)
    return _build(row.name, row.architecture, path, **overrides)


def load_file(path: str | Path, architecture: str, **overrides: Any) -> Backbone:
    """Load a local file (.safetensors, or .bin and .pth without code) as `load` does; `overrides` go to the config."""
    return _build(Path(path).name, architecture, Path(path), **overrides)


def download(checkpoint: str | Checkpoint, progress: Progress | None = None) -> Path:
    """Fetch a checkpoint's file unless it is on this machine, and say where it lies.

    A WeightsError tells apart: offline, no network, missing, not permitted, broken off, no room for it.
    """
    row = _row(checkpoint)
    return _local(row) or _retrieve(row, *_remote(row), progress)


def file_size(checkpoint: str | Checkpoint) -> int | None:
    """Bytes of a checkpoint's file, on disk or as its server tells; None where nobody tells."""
    row = _row(checkpoint)
    try:
        path = _local(row)
        return path.stat().st_size if path else _remote(row)[1]
    except (WeightsError, OSError):
        return None


def is_local(checkpoint: str | Checkpoint) -> bool:
    """Whether a checkpoint loads without a network: it is bundled, or in the cache."""
    return _local(_row(checkpoint)) is not None


def read(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict, in float32; a pickle may hold tensors and plain containers, never code.

    A WeightsError names the file that is missing, damaged, holds code, or holds no tensors.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            found = safetensors.torch.load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to mean
        raise WeightsError(_unreadable(path, error)) from error
    state = _tensors(found)
    if not state:
        raise WeightsError(f"{path} holds no weights by name: choose a file that was saved from a state dict.")
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def memory_needed(path: str | Path) -> int:
    """Bytes of memory that a file's weights fill in float32; for a pickle, at least."""
    path = Path(path)
    try:
        if path.suffix != ".safetensors":
            return path.stat().st_size
        with safetensors.safe_open(path, "pt") as file:
            return sum(4 * prod(file.get_slice(key).get_shape()) for key in file.keys())
    except (OSError, safetensors.SafetensorError) as error:
        raise WeightsError(_unreadable(path, error)) from error


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes that this process can still take; None where the system (a folder, `root`) does not tell.

    The least of what Linux reports, what the container allows (cgroup 1 and 2), and what Spaces grant (MEMORY).
    """
    found = [1024 * int(kb) for kb in re.findall(r"MemAvailable: *(\d+) kB", _text(root / "proc/meminfo"))]
    group = root / "sys/fs/cgroup"
    for folder, most, used in (group, "max", "current"), (group / "memory", "limit_in_bytes", "usage_in_bytes"):
        limit, usage = (_text(folder / f"memory.{name}").strip() for name in (most, used))
        if limit.isdigit() and usage.isdigit():
            cached = re.findall(r"^(?:in)?active_file (\d+)", _text(folder / "memory.stat"), re.MULTILINE)
            found.append(int(limit) - int(usage) + sum(map(int, cached)))  # the kernel gives file pages back
    if granted := re.match(r"(\d+) ?([KMGT])", os.environ.get("MEMORY", "")):
        own = sum(1024 * int(kb) for kb in re.findall(r"RssAnon:\s*(\d+) kB", _text(root / "proc/self/status")))
        found.append(int(granted[1]) * 1024 ** " KMGT".index(granted[2]) - own)
    return max(min(found), 0) if found else None


def check_memory(name: str, needed: int | None) -> None:
    """Raise a WeightsError if `needed` bytes are more than this process can still take."""
    free = available_memory()
    if needed and free is not None and needed > free:
        raise WeightsError(f"{name} needs {_bytes(needed)} of memory, {_bytes(free)} are free: choose a smaller model.")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _row(checkpoint: str | Checkpoint) -> Checkpoint:
    if isinstance(checkpoint, Checkpoint):
        return checkpoint
    try:
        return catalogue.checkpoint(checkpoint)
    except KeyError as error:
        raise WeightsError(error.args[0]) from error


def _variant(architecture: str) -> tuple[type[Backbone], Any]:
    try:
        return variant(architecture)
    except KeyError as error:
        raise WeightsError(error.args[0]) from error


def _is_url(row: Checkpoint) -> bool:
    return row.source.startswith(("https://", "http://"))


def _url_file(row: Checkpoint) -> Path:
    return Path(constants.HF_ASSETS_CACHE) / "vision-zoo" / row.source.rpartition("/")[2]


def _local(row: Checkpoint) -> Path | None:
    if row.bundled:
        return row.file
    if _is_url(row):
        return _url_file(row) if _url_file(row).is_file() else None
    cached = (hub.try_to_load_from_cache(row.source, filename) for filename in FILES)
    return next((Path(path) for path in cached if isinstance(path, str)), None)


def _remote(row: Checkpoint) -> tuple[str, int | None]:
    """Ask the server which file there is and how many bytes it has."""
    if row.source == "bundled":
        raise WeightsError(f"{row.file} is missing: install the zoo again.")
    try:
        if _is_url(row):
            with _open(row.source, method="HEAD") as answer:
                return _url_file(row).name, int(answer.headers["Content-Length"] or 0) or None
        for filename in FILES:
            try:
                return filename, hub.get_hf_file_metadata(hub.hf_hub_url(row.source, filename)).size
            except errors.EntryNotFoundError:
                continue
    except _TROUBLE as error:
        host = (row.source if _is_url(row) else constants.ENDPOINT).split("/")[2]
        down = f"{row.name} is not here and {host} cannot be reached ({_first_line(error)}): check the network."
        raise WeightsError(_refusal(row, error) or down) from error
    raise WeightsError(f"{row.source} on the Hub has neither {' nor '.join(FILES)}: choose another than {row.name}.")


def _retrieve(row: Checkpoint, filename: str, size: int | None, progress: Progress | None) -> Path:
    target = _url_file(row) if _is_url(row) else Path(constants.HF_HUB_CACHE)
    exists = next(folder for folder in (target, *target.parents) if folder.is_dir())
    if size and (free := shutil.disk_usage(exists).free) < size:
        raise WeightsError(f"{row.name} takes {_bytes(size)} and {exists} has {_bytes(free)} left: make room there.")
    meter = _meter(progress or (lambda done, total: None), size or 0)
    try:
        if _is_url(row):
            _download_url(row, target, meter())
            path = target
        else:
            path = Path(hub.hf_hub_download(row.source, filename, tqdm_class=meter if progress else None))
    except _TROUBLE as error:
        broken = f"The download of {row.name} broke off ({_first_line(error)}): load it again."
        raise WeightsError(_refusal(row, error) or broken) from error
    if progress:
        done = path.stat().st_size
        progress(done, done)
    return path


def _meter(progress: Progress, total: int) -> type[tqdm]:
    """Make a progress bar's class that tells `progress` instead of drawing.

    A retry sets a bar back and xet opens two, of bytes fetched and bytes written: what is told never falls.
    """
    furthest = 0

    class Meter(tqdm):
        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, **(kwargs | {"disable": True}))

        def update(self, n: float | None = 1) -> None:
            nonlocal furthest
            self.n += int(n or 0)
            done = min(self.n, total or self.n)
            if done > furthest:
                furthest = done
                progress(done, total)

    return Meter


def _open(url: str, method: str = "GET") -> http.client.HTTPResponse:
    if hub.is_offline_mode():
        raise errors.OfflineModeIsEnabled(url)
    try:
        return urlopen(Request(url, method=method, headers={"User-Agent": "vision-zoo"}), timeout=_TIMEOUT)
    except HTTPError as error:
        error.close()  # it holds the connection
        raise


def _download_url(row: Checkpoint, target: Path, bar: tqdm) -> None:
    """Fetch a file that lies outside the Hub; it takes its name when it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{uuid4().hex[:8]}.part")
    digest, done = hashlib.sha256(), 0
    try:
        with _open(row.source) as answer, part.open("wb") as file:
            total = int(answer.headers["Content-Length"] or 0)
            while piece := answer.read(1 << 20):
                file.write(piece)
                digest.update(piece)
                done += len(piece)
                bar.update(len(piece))
        if total and done != total:
            raise OSError(f"{done} of {total} bytes came")
        published = _HASH.search(target.name)
        if published and not digest.hexdigest().startswith(published[1]):
            raise WeightsError(f"{row.source} is not {row.name} as published (SHA-256 differs): load it again.")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _refusal(row: Checkpoint, error: Exception) -> str | None:
    """Put what a server, the offline switch or the disk said into a sentence; None for what is none of these."""
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else getattr(error, "code", None)
    where = row.source if _is_url(row) else f"{constants.ENDPOINT}/{row.source}"
    number = error.errno if isinstance(error, OSError) else None
    sentence = None
    if isinstance(error, errors.OfflineModeIsEnabled):
        sentence = f"{row.name} is not on this machine and HF_HUB_OFFLINE is set: unset it to download the file."
    elif isinstance(error, errors.GatedRepoError):
        sentence = f"{row.name} needs permission: accept the terms on {where} and set HF_TOKEN to your token."
    elif _is_url(row) and status in (404, 410):
        sentence = f"{row.name} is no longer at {where}: choose another checkpoint."
    elif isinstance(error, errors.RepositoryNotFoundError) or status == 404:
        sentence = f"{row.name} is not at {where}, or is private: if you may see it, set HF_TOKEN to your token."
    elif status in (401, 403):
        sentence = f"{where} denies access to {row.name}: check that HF_TOKEN is valid and may read it."
    elif status == 429:
        sentence = f"The server of {row.name} gets too many requests: wait some minutes, or set HF_TOKEN."
    elif isinstance(status, int):
        sentence = f"The server of {row.name} answers with error {status}: try again later."
    elif number in (errno.ENOSPC, errno.EDQUOT):
        sentence = f"The disk is full, so {row.name} was not kept: make room in {constants.HF_HOME}."
    elif number in (errno.EACCES, errno.EPERM, errno.EROFS):
        sentence = f"{row.name} cannot be kept in {constants.HF_HOME}: set HF_HOME to a folder that you may write to."
    return sentence


def _check_sum(path: Path) -> None:
    lines = (line.split() for line in _text(path.with_name(SUMS)).splitlines() if line)
    sums = {name.lstrip("*"): digest for digest, name in lines}
    if hashlib.sha256(path.read_bytes()).hexdigest() != sums.get(path.name):
        raise WeightsError(f"{path} is not the file that {SUMS} beside it describes: install the zoo again.")


def _tensors(found: Any) -> dict[str, Tensor]:
    """Find the state dict in what a training script saved beside it."""
    if not isinstance(found, dict):
        return {}
    found = next((found[nest] for nest in _NESTS if isinstance(found.get(nest), dict)), found)
    state = {k: v for k, v in found.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if all(k.startswith("module.") for k in state):  # as DataParallel saves
        return {k.removeprefix("module."): v for k, v in state.items()}
    return state


def _unreadable(path: Path, error: Exception) -> str:
    if not path.is_file():
        return f"There is no file {path}: check the path."
    if isinstance(error, PermissionError):
        return f"{path} may not be read: ask for the right to read it."
    code = re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if code:
        return f"{path} holds code ({code[1]}), which is never run: get the weights as safetensors."
    if Path(constants.HF_HUB_CACHE) in path.parents:  # models--ORG--NAME/snapshots/REVISION/FILE
        return f"{path} is damaged: delete the folder {path.parents[2]} and load it again."
    return f"{path} is damaged: delete it and get it again."


def _build(name: str, architecture: str, path: Path, **overrides: Any) -> Backbone:
    model, _ = _variant(architecture)
    check_memory(name, memory_needed(path))
    state = read(path)
    try:
        state = model.adapt(state)
        built = create_from(architecture, state, **overrides)
    except _FOREIGN as error:
        how = _misfit(architecture, state, overrides) or _first_line(error)
        raise WeightsError(f"{name} does not fit {architecture}: {how}; choose what it was trained as.") from error
    return built.requires_grad_(False)


def _misfit(architecture: str, state: dict[str, Tensor], overrides: dict[str, Any]) -> str | None:
    """Say in one clause how a state dict differs from what the architecture asks for; None where it does not."""
    model, cfg = variant(architecture)
    try:
        with torch.device("meta"):
            built = create(architecture, **(model.fit(cfg, state) | overrides))
    except _FOREIGN:
        with torch.device("meta"):
            built = create(architecture)
    asked = built.state_dict()
    reshaped = {k for k in asked if k in state and asked[k].shape != state[k].shape}
    rest = built.load_state_dict({k: v for k, v in state.items() if k not in reshaped}, strict=False, assign=True)
    missing, unexpected = [k for k in rest.missing_keys if k not in reshaped], rest.unexpected_keys
    if missing:
        first = f"it lacks {missing[0]}"
    elif unexpected:
        first = f"it has {unexpected[0]}, which is no part of the model"
    elif reshaped:
        key = next(k for k in asked if k in reshaped)
        first = f"{key} is {tuple(state[key].shape)}, not {tuple(asked[key].shape)}"
    else:
        return None
    return f"{first} ({len(missing)} missing, {len(unexpected)} unexpected, {len(reshaped)} of another shape)"


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).strip(" .:")


def _bytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
