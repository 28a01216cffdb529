"""Loading weights from a Hub on this machine: what is loaded, what is refused, and the sentence of each refusal."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import constants, file_download
from safetensors.torch import load_file, save

import zoo
from tests.zoo.files import ARCHITECTURE, STATE, Code, sentence
from tests.zoo.hub_server import TOKEN, client_of, serve
from zoo import catalogue, memory, weights
from zoo.download import SUMS, file_size

REPO = "lab/small"
NOWHERE = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
ROW = replace(catalogue.checkpoint("resnet18.a1_in1k"), name=f"{ARCHITECTURE}.lab", source=REPO, num_classes=7)
FILE = save(STATE)
DOWNLOAD = sys.modules["zoo.download"]  # zoo.download itself is the function
PORTAL = b"<html><body>Welcome to the station's network. Please sign in.</body></html>"


@pytest.fixture(scope="module")
def server():
    with serve() as hub:
        yield hub


@pytest.fixture
def hub(server, tmp_path):
    server.repos, server.files = {REPO: {"model.safetensors": FILE}}, {}
    server.gated, server.status, server.xet, server.hang_ups, server.asked = set(), {}, set(), 0, []
    server.instead, server.portal, server.tokens = b"", b"", []
    with client_of(server.url, tmp_path / "home") as patch:
        server.patch = patch
        yield server


def pickled(value, path):
    torch.save(value, path)
    return path.read_bytes()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_from_the_hub_with_its_own_number_of_classes(hub):
    model = weights.load(ROW)
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.num_classes == 7
    assert same(model.state_dict(), STATE)


def test_the_second_load_sends_no_request(hub):
    assert not zoo.is_local(ROW)
    first = zoo.download(ROW)
    hub.asked.clear()
    assert zoo.is_local(ROW)
    assert zoo.download(ROW) == first
    assert file_size(ROW) == len(FILE)
    weights.load(ROW)
    hub.patch.setattr(constants, "HF_HUB_OFFLINE", True)
    weights.load(ROW)
    assert hub.asked == []


def test_safetensors_are_preferred_to_a_pickle(hub, tmp_path):
    pickle_of_dataparallel = pickled({"state_dict": {f"module.{k}": v for k, v in STATE.items()}}, tmp_path / "x")
    hub.repos[REPO] = {"pytorch_model.bin": pickle_of_dataparallel}
    assert file_size(ROW) == len(pickle_of_dataparallel)
    assert same(weights.load(ROW).state_dict(), STATE)
    assert zoo.download(ROW).name == "pytorch_model.bin"
    hub.repos["lab/both"] = {"pytorch_model.bin": b"not asked for", "model.safetensors": FILE}
    assert zoo.download(replace(ROW, source="lab/both")).name == "model.safetensors"


def test_progress_rises_to_the_total(hub):
    hub.patch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)
    heard = []
    weights.load(ROW, progress=lambda *now: heard.append(now))
    assert len(heard) > len(FILE) >> 16
    assert {total for _, total in heard} == {len(FILE)}
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)
    assert heard[0][0] < len(FILE) and heard[-1] == (len(FILE), len(FILE))


def test_progress_with_xet_which_opens_two_bars(hub):
    """This tests only how the storage client reports progress: bytes fetched before bytes written."""
    reporting = pytest.importorskip("huggingface_hub.utils._xet_progress_reporting")
    if not hasattr(reporting, "XetDownloadProgressReporter"):
        pytest.skip("this huggingface_hub opens one bar")
    parts = [len(FILE) * i // 4 for i in range(5)]

    def xet_get(*, incomplete_path, expected_size, tqdm_class, **_):
        bars = {"total": expected_size, "reconstruction_desc": "", "log_level": 0, "tqdm_class": tqdm_class}
        with reporting.XetDownloadProgressReporter(**bars) as reporter:
            for written, fetched in pairwise(parts):
                counts = {"total_bytes_completed": written, "total_transfer_bytes_completed": fetched}
                rates = {"total_bytes_completion_rate": 1.0, "total_transfer_bytes_completion_rate": 1.0}
                reporter.update_progress(SimpleNamespace(total_bytes=expected_size, **counts, **rates))
        incomplete_path.write_bytes(FILE)

    hub.xet.add(REPO)
    hub.patch.setattr(file_download, "is_xet_available", lambda: True)
    hub.patch.setattr(file_download, "xet_get", xet_get)
    heard = []
    zoo.download(ROW, lambda *now: heard.append(now))
    assert heard == [(part, len(FILE)) for part in (*parts[1:], parts[-1])]


def test_an_exception_from_a_progress_function_reaches_the_caller(hub):
    class CancelledError(Exception):
        pass

    def cancel(done, total):
        raise CancelledError

    with pytest.raises(CancelledError):
        weights.load(ROW, progress=cancel)
    weights.load(ROW)


def test_a_dropped_connection_is_resumed_where_it_broke(hub):
    hub.hang_ups = 1
    hub.patch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)
    hub.patch.setattr(file_download.time, "sleep", lambda seconds: None)
    weights.load(ROW)
    ranges = [wanted for method, path, wanted in hub.asked if method == "GET"]
    assert ranges[0] is None and int(ranges[1].removeprefix("bytes=").removesuffix("-")) > 0


def test_a_broken_download_says_so_and_the_next_succeeds(hub):
    hub.hang_ups = 100
    hub.patch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
    hub.patch.setattr(file_download.time, "sleep", lambda seconds: None)
    text = sentence(weights.load, ROW)
    assert f"The download of {ROW.name} was interrupted" in text and "load it again" in text
    assert not zoo.is_local(ROW)
    hub.hang_ups = 0
    assert weights.load(ROW).num_classes == 7


def test_two_loads_at_once(hub):
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(weights.load, [ROW, ROW])
    assert same(first.state_dict(), STATE) and same(second.state_dict(), STATE)
    assert [method for method, path, _ in hub.asked if "/bytes/" in path].count("GET") == 1


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda hub: hub.repos[REPO].clear(), "neither model.safetensors nor pytorch_model.bin"),
        (lambda hub: hub.repos.clear(), "or is private"),
        (lambda hub: hub.gated.add(REPO), "/lab/small and set HF_TOKEN"),
        (lambda hub: hub.status.update({REPO: 403}), "denies access"),
        (lambda hub: hub.status.update({REPO: 429}), "too many requests"),
        (lambda hub: hub.status.update({REPO: 503}), "answers with error 503"),
        (lambda hub: hub.patch.setattr(constants, "HF_HUB_OFFLINE", True), "HF_HUB_OFFLINE is set"),
        (lambda hub: hub.patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", NOWHERE), "cannot be reached"),
    ],
)
def test_what_cannot_be_downloaded(hub, spoil, says):
    spoil(hub)
    assert file_size(ROW) is None
    text = sentence(weights.load, ROW)
    assert says in text and (ROW.name in text)
    assert not zoo.is_local(ROW)


def test_the_token_opens_a_gated_repository(hub):
    hub.gated.add(REPO)
    hub.patch.setenv("HF_TOKEN", "hf_another")
    assert "needs permission" in sentence(weights.load, ROW)
    hub.patch.setenv("HF_TOKEN", TOKEN)
    weights.load(ROW)
    assert "or is private" in sentence(weights.load, replace(ROW, source="lab/other"))  # with a token, a 404


@pytest.mark.parametrize(
    ("number", "says"),
    [(errno.ENOSPC, "The disk is full"), (errno.EACCES, "set HF_HOME to a folder that you may write to")],
)
def test_a_disk_that_refuses(hub, number, says):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    hub.patch.setattr(file_download, "http_get", refuse)
    assert says in sentence(weights.load, ROW)


def test_a_file_larger_than_the_disk_is_not_downloaded(hub):
    hub.patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    assert "takes 1.1 MB" in sentence(weights.load, ROW)
    assert "GET" not in [method for method, *_ in hub.asked]


def test_a_model_that_does_not_fit_into_memory_is_not_downloaded(hub):
    hub.patch.setattr(memory, "available_memory", lambda: 1000)
    assert "needs 1.1 MB of memory" in sentence(weights.load, ROW)
    assert not zoo.is_local(ROW)
    zoo.download(ROW)
    assert "of memory" in sentence(weights.load, ROW)


def test_a_file_from_outside_the_hub(hub, tmp_path):
    data = pickled(STATE, tmp_path / "x")
    name = f"small-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    row = replace(ROW, source=f"{hub.url}/files/{name}")
    assert "is no longer at" in sentence(weights.load, row)
    assert file_size(row) is None
    hub.files[name] = data
    assert file_size(row) == len(data) and not zoo.is_local(row)
    hub.hang_ups = 1
    assert "was interrupted" in sentence(weights.load, row)
    heard = []
    zoo.download(row, lambda *now: heard.append(now))
    assert heard == sorted(heard) and heard[0][0] < len(data) and heard[-1] == (len(data), len(data))
    zoo.download(row).unlink()
    with ThreadPoolExecutor(2) as pool:
        assert all(same(model.state_dict(), STATE) for model in pool.map(weights.load, [row, row]))
    assert [path.name for path in zoo.download(row).parent.iterdir()] == [name]


def test_a_file_from_outside_the_hub_that_was_changed(hub, tmp_path):
    hub.files["small-0badc0de.pth"] = pickled(STATE, tmp_path / "x")
    row = replace(ROW, source=f"{hub.url}/files/small-0badc0de.pth")
    assert "SHA-256 differs" in sentence(weights.load, row)
    assert not zoo.is_local(row)


def test_the_offline_switch_also_holds_outside_the_hub(hub):
    hub.patch.setattr(constants, "HF_HUB_OFFLINE", True)
    row = replace(ROW, source=f"{hub.url}/files/small.pth")
    assert "HF_HUB_OFFLINE is set" in sentence(weights.load, row)
    assert hub.asked == []


@pytest.mark.parametrize("changed", [FILE[:5000], FILE[:-4] + b"\0\0\0\0", PORTAL])
def test_a_file_in_the_cache_that_is_not_the_published_one_is_deleted_and_fetched_anew(hub, changed):
    path = zoo.download(ROW)
    path.resolve().write_bytes(changed)
    assert "SHA-256 differs) and has been deleted: load it again" in sentence(weights.load, ROW)
    assert not zoo.is_local(ROW)
    assert same(weights.load(ROW).state_dict(), STATE)


def test_a_file_in_the_cache_is_read_for_its_digest_once_until_it_changes(hub):
    path, read = zoo.download(ROW).resolve(), []
    hub.patch.setattr(DOWNLOAD, "_sha256", lambda file: read.append(file) or hashlib.sha256(FILE).hexdigest())
    weights.load(ROW)
    assert read == []  # it was read when it was fetched
    os.utime(path, (1, 1))
    weights.load(ROW)
    weights.load(ROW)
    assert read == [path]


def test_what_a_network_sends_that_wants_a_sign_in_first_is_not_kept(hub):
    hub.files["small.pth"] = FILE
    row = replace(ROW, source=f"{hub.url}/files/small.pth")
    hub.portal = PORTAL
    assert "gives a web page instead of a file" in sentence(weights.load, ROW)
    assert "gives a web page instead of a file" in sentence(weights.load, row)
    hub.patch.setattr(DOWNLOAD, "remote", lambda row: (row.source.rpartition("/")[2], None))  # it came in between
    assert "gives a web page instead of a file" in sentence(zoo.download, row)
    assert not zoo.is_local(ROW) and not zoo.is_local(row)
    hub.portal = b""
    assert zoo.download(row).read_bytes() == FILE


def test_a_page_sent_instead_of_the_file_that_the_hub_announced_is_not_kept(hub):
    hub.instead = (PORTAL * len(FILE))[: len(FILE)]
    assert "SHA-256 differs) and has been deleted" in sentence(weights.load, ROW)
    assert not zoo.is_local(ROW)
    hub.instead = b""
    assert same(weights.load(ROW).state_dict(), STATE)


def test_the_token_is_not_sent_to_the_host_that_stores_the_bytes(hub):
    hub.patch.setenv("HF_TOKEN", TOKEN)
    zoo.download(ROW)
    paths = [path for path, _ in hub.tokens]
    assert any("/resolve/" in path for path in paths)
    assert not any(path.startswith("/bytes/") for path in paths)
    assert any(path.startswith("/bytes/") for _, path, _ in hub.asked)


@pytest.mark.parametrize("key", ["conv1.weight", "bn1.running_mean"])
def test_weights_that_are_whole_numbers_are_refused(hub, key):
    hub.repos[REPO]["model.safetensors"] = save(STATE | {key: STATE[key].int()})
    assert f"{key} is int32, and weights are floating-point numbers" in sentence(weights.load, ROW)


@pytest.mark.parametrize(("architecture", "size"), [("vit_tiny_patch16_224", 160), ("mixer_s32_224", 96)])
def test_another_image_size_and_number_of_classes_are_read_off(hub, architecture, size):
    state = zoo.create(architecture, img_size=size, num_classes=3).state_dict()
    hub.repos[REPO]["model.safetensors"] = save(state)
    model = weights.load(replace(ROW, name=f"{architecture}.lab"))
    assert model.num_classes == 3
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in state.items()}


def test_an_unknown_architecture_is_not_downloaded(hub):
    assert "There is no architecture" in sentence(weights.load, replace(ROW, name="resnet2_cifar.lab"))
    assert hub.asked == []


def test_a_pickle_with_code_from_the_hub(hub, tmp_path):
    hub.repos[REPO] = {"pytorch_model.bin": pickled({"w": Code(tmp_path / "ran")}, tmp_path / "x")}
    assert "holds code" in sentence(weights.load, ROW)
    assert not (tmp_path / "ran").exists()


def test_a_bundled_file_is_checked(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "BUNDLED", tmp_path)
    row = replace(ROW, source="bundled")
    assert not row.bundled and "is missing" in sentence(weights.load, row)
    row.file.write_bytes(FILE)
    sums = tmp_path / SUMS
    sums.write_text(f"{hashlib.sha256(FILE).hexdigest()}  {row.file.name}\n")
    assert zoo.is_local(row) and file_size(row) == len(FILE) and zoo.download(row) == row.file
    assert weights.load(row).num_classes == 7
    changed = bytearray(FILE)
    changed[-1000] ^= 1
    row.file.write_bytes(changed)
    load_file(row.file)  # safetensors itself finds nothing wrong
    assert f"The file of {row.name} is not the one that SHA256SUMS" in sentence(weights.load, row)
    sums.unlink()
    assert "SHA256SUMS" in sentence(weights.load, row)
    assert hub.asked == []


def test_a_new_process_with_only_the_environment_set(server, tmp_path):
    server.repos, server.gated, server.hang_ups = {REPO: {"model.safetensors": FILE}}, {REPO}, 0
    script = f"""
import json, sys
from dataclasses import replace
import zoo
from zoo import catalogue
row = replace(catalogue.checkpoint("resnet18.a1_in1k"), name="{ROW.name}", source="{REPO}")
heard = []
model = zoo.load(row, progress=lambda *now: heard.append(now))
print(json.dumps([model.num_classes, heard[-1], str(zoo.download(row))]))
"""
    unset = "MEMORY", "HF_HUB_OFFLINE"
    clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and k not in unset}
    clean |= {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN, "NO_PROXY": "*"}
    ran = subprocess.run([sys.executable, "-c", script], env=clean, capture_output=True, text=True, check=True)
    classes, heard, path = json.loads(ran.stdout)
    assert classes == 7 and heard == [len(FILE), len(FILE)]
    assert Path(path).is_relative_to(tmp_path / "home" / "hub") and ran.stderr == ""
