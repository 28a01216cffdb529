"""The programs that the page shows run, and say what the page says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import engine
from engine import Job, Request
from explain import METHODS
from tests.engine.jobs import ENGINE
from ui import snippets
from ui.uploads import GRADIO_PHOTOS

ROOT = Path(__file__).parents[2]
LION = (GRADIO_PHOTOS / "lion.jpg").read_bytes()
LITE = "tf_efficientnet_lite0.pypi_in1k"
PHOTO = 'a "lion"\'s {name}\\n.jpg'


def shown(request: Request) -> engine.Look:
    (look,) = ENGINE.perform(Job("look", request, (engine.Photo(PHOTO, LION),))).photos
    return look


def lines(look: engine.Look) -> list[str]:
    return [f"{guess.probability:.4f}  {guess.label}" for guess in look.guesses[:5]]


def run(program: str, folder: Path) -> str:
    """Run a program as a person does, in the folder of the photo; what it prints."""
    (folder / PHOTO).write_bytes(LION)
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "GRADIO_TEMP_DIR": str(folder)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "request_",
    [
        Request(LITE),
        Request(LITE, "grad_cam", target="tabby", contrast="287", layer="stage3", signed=True),
        Request("resnet20x2_cifar.cifar10", "occlusion"),
        Request(LITE, precision="bfloat16"),
        Request("test_vit2", "attention", layer="3", head=1),
        Request(LITE, method=""),
    ],
    ids=["plain", "contrast", "occlusion", "bfloat16", "attention", "none"],
)
def test_the_program_of_the_zoo_says_and_saves_what_the_page_shows(request_, tmp_path):
    printed = run(snippets.zoo_code(request_, PHOTO), tmp_path).splitlines()
    look = shown(request_)
    assert printed == lines(look) or (not look.guesses and printed == ["torch.Size([1, 1000])"])
    saved = sorted(file.name for file in tmp_path.iterdir() if file.name != PHOTO)
    if request_.method:
        stem = f"{Path(PHOTO).stem}.{request_.method}"
        assert saved == [f"{stem}.npy", f"{stem}.png"]
        np.testing.assert_allclose(np.load(tmp_path / saved[0]), look.map.values, rtol=1e-4, atol=1e-6)
        with Image.open(tmp_path / saved[1]) as overlay, Image.open(tmp_path / PHOTO) as photo:
            assert overlay.size == photo.size
    else:
        assert saved == []


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_program_that_makes_its_map(method, tmp_path, monkeypatch):
    """Clicks, layers and heads are given to all; each method takes its own."""
    tapped = METHODS[method].takes("tap")
    layer = "stage2" if tapped else "2" if METHODS[method].takes("layer") else ""
    model = {"guided_backprop": "resnet20_cifar", "patch_logits": "volo_d1_224"}.get(method, "test_vit2")
    request = Request(model, method, "3", "5", layer, 1, signed=True, together=True, clicked=(0, (0.4, 0.5)))
    (tmp_path / PHOTO).write_bytes(LION)
    monkeypatch.chdir(tmp_path)
    exec(compile(snippets.zoo_code(request, PHOTO), "program", "exec"), {})
    saved = np.load(f"{Path(PHOTO).stem}.{method}.npy")
    np.testing.assert_allclose(saved, shown(request).map.values, rtol=1e-4, atol=1e-6)


def test_random_weights_have_the_image_size_of_their_architecture(tmp_path, monkeypatch):
    """It has no checkpoint, so its photos are prepared as those of another one, which takes 256 x 256."""
    request = Request("test_vit4")
    (tmp_path / PHOTO).write_bytes(LION)
    monkeypatch.chdir(tmp_path)
    exec(compile(snippets.zoo_code(request, PHOTO), "program", "exec"), {})
    saved = np.load(f"{Path(PHOTO).stem}.grad_cam.npy")
    np.testing.assert_allclose(saved, shown(request).map.values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "request_",
    [
        Request(LITE, "grad_cam", target="tabby", contrast="287", layer="stage3", signed=True),
        Request("test_vit2", "attention", layer="3", head=1, clicked=(0, (0.4, 0.5))),
        Request(LITE, method=""),
    ],
    ids=["contrast", "attention", "none"],
)
def test_the_program_of_the_client_gets_what_the_page_shows(url, request_, tmp_path):
    program = snippets.client_code(request_, PHOTO)
    assert program.count(snippets.ADDRESS) == 1
    printed = run(program.replace(snippets.ADDRESS, url), tmp_path)
    look = shown(request_)
    assert all(line in printed.splitlines() for line in lines(look))
    assert bool(look.guesses) != ("its weights are random" in printed)
    if request_.method:
        (file,) = re.findall(r"\S+map\.npy", printed)
        np.testing.assert_allclose(np.load(file), look.map.values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (Request("resnet5000"), "There is no architecture"),
        (Request(LITE, target="unicorn"), "No class is called"),
        (Request("test_vit2", "attention", layer="last"), "have numbers"),
    ],
)
def test_a_choice_that_makes_no_sense_has_no_program(request_, sentence):
    with pytest.raises(engine.EngineError, match=sentence):
        snippets.zoo_code(request_, PHOTO)
