"""Weights from a file: what is read, what is refused, and whether it fits the architecture and the memory."""

import pickle
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import zoo
from tests.zoo.files import ARCHITECTURE, STATE, Code, sentence
from zoo import weights
from zoo.memory import available_memory


def test_an_unknown_name_and_an_unknown_architecture(tmp_path):
    assert "resnet50" in sentence(weights.load, "resnet50.a1_in1")
    save_file(STATE, tmp_path / "a.safetensors")
    assert "resnet20_cifar" in sentence(weights.load_file, tmp_path / "a.safetensors", "resnet20_cifarr")


def test_a_local_file_in_half_precision(tmp_path):
    half = {k: v.bfloat16() if v.is_floating_point() else v for k, v in STATE.items()}
    save_file(half, tmp_path / "half.safetensors")
    torch.save({"model": half, "epoch": 3}, tmp_path / "half.pth")
    assert weights.memory_needed(tmp_path / "half.safetensors") == sum(4 * v.numel() for v in STATE.values())
    for name in ("half.safetensors", "half.pth"):
        model = weights.load_file(tmp_path / name, ARCHITECTURE)
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        torch.testing.assert_close(model.state_dict()["conv1.weight"], STATE["conv1.weight"].bfloat16().float())


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="this system does not list its mapped files")
@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
def test_weights_in_float32_stay_in_the_mapped_file(tmp_path, name):
    path = tmp_path / name
    save_file(STATE, path) if path.suffix == ".safetensors" else torch.save(STATE, path)
    state = weights.load_file(path, ARCHITECTURE).state_dict()
    maps = re.findall(rf"^(\w+)-(\w+) .* {re.escape(str(path))}$", Path("/proc/self/maps").read_text(), re.MULTILINE)
    spans = [range(int(start, 16), int(end, 16)) for start, end in maps]
    assert state.keys() == STATE.keys()
    assert [k for k, v in state.items() if not any(v.data_ptr() in span for span in spans)] == []


def test_nested_weights_are_found_and_averaged_ones_preferred(tmp_path):
    ones, zeros = ({"w": torch.full((2,), v)} for v in (1.0, 0.0))
    torch.save({"state_dict": zeros, "state_dict_ema": ones, "arch": "x"}, tmp_path / "a.pth")
    assert weights.read(tmp_path / "a.pth")["w"].tolist() == [1, 1]
    torch.save([1, 2], tmp_path / "b.pth")
    assert "holds no named weights" in sentence(weights.read, tmp_path / "b.pth")


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path):
    path, code = tmp_path / "evil.bin", Code(tmp_path / "ran")
    for zipped in (True, False):
        torch.save({"w": torch.ones(2), "x": code}, path, _use_new_zipfile_serialization=zipped)
        assert f"{path} holds code (posix.mkdir)" in sentence(weights.read, path)
    path.write_bytes(pickle.dumps(code, protocol=2))
    assert f"{path} holds code (posix.mkdir)" in sentence(weights.read, path)
    assert not (tmp_path / "ran").exists()
    pickle.loads(path.read_bytes())  # the code would have worked
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_damaged_files_are_named(tmp_path, suffix):
    path = tmp_path / f"whole{suffix}"
    save_file(STATE, path) if suffix == ".safetensors" else torch.save(STATE, path)
    whole = path.read_bytes()
    for spoilt in (b"", whole[:5], whole[:5000], whole[:-1], b"<html>Not found</html>", bytes(range(256)) * 9):
        path.write_bytes(spoilt)
        assert f"{path} is damaged" in sentence(weights.read, path)
        assert sentence(weights.load_file, path, ARCHITECTURE)
    assert f"{tmp_path / 'none'} is not there" in sentence(weights.read, tmp_path / "none")


def test_what_does_not_fit_is_counted(tmp_path):
    path = tmp_path / "a.safetensors"

    def says(state, architecture=ARCHITECTURE):
        save_file({k: v.clone() for k, v in state.items()}, path)
        return sentence(weights.load_file, path, architecture)

    without = {k: v for k, v in STATE.items() if k != "layer1.0.bn1.bias"}
    assert "it lacks layer1.0.bn1.bias (1 missing, 0 unexpected, 0 of another shape)" in says(without)
    assert "it has extra" in says(STATE | {"extra": torch.ones(1)})
    wide = zoo.create("resnet20x2_cifar").state_dict()
    text = says(wide)
    assert "conv1.weight is (32, 3, 3, 3), not (16, 3, 3, 3)" in text
    assert "(0 missing, 0 unexpected, 96 of another shape)" in text
    assert "(450 missing, 0 unexpected, 0 of another shape)" in says(STATE, "resnet110_cifar")
    assert "does not fit" in says({"w": torch.ones(1)})


def test_weights_in_another_layout_are_adapted(tmp_path):
    model, _ = zoo.registry.variant(ARCHITECTURE)
    save_file({f"backbone.{k}": v for k, v in STATE.items()}, tmp_path / "a.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        strip = classmethod(lambda cls, state: {k.removeprefix("backbone."): v for k, v in state.items()})
        patch.setattr(model, "adapt", strip)
        assert weights.load_file(tmp_path / "a.safetensors", ARCHITECTURE).num_classes == 7


GROUP = "sys/fs/cgroup/memory"


@pytest.mark.parametrize(
    ("files", "memory", "free"),
    [
        ({}, "", None),
        ({}, "plenty", None),
        ({"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    7 kB\n"}, "", 7168),
        ({"proc/meminfo": "MemAvailable: 7 kB\n", f"{GROUP}.max": "max\n", f"{GROUP}.current": "5\n"}, "", 7168),
        ({f"{GROUP}.max": "5000\n", f"{GROUP}.current": "4000\n"}, "", 1000),
        ({f"{GROUP}.max": "9", f"{GROUP}.current": "8", f"{GROUP}.stat": "inactive_file 1\nactive_file 2"}, "", 4),
        ({f"{GROUP}/memory.limit_in_bytes": "5000", f"{GROUP}/memory.usage_in_bytes": "6000"}, "", 0),
        ({"proc/self/status": "VmRSS:\t 9 kB\nRssAnon:\t 1024 kB\n"}, "16Gi", 16 * 2**30 - 2**20),
    ],
)
def test_available_memory(tmp_path, monkeypatch, files, memory, free):
    monkeypatch.setenv("MEMORY", memory)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_memory(tmp_path) == free
    assert available_memory() is None or available_memory() > 0
