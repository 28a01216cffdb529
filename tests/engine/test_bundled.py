"""The checkpoints that come with the zoo, and what happens when a file is damaged."""

import hashlib
import shutil

import pytest
from PIL import Image

import engine
import zoo
from engine import EngineError, LocalEngine, Request
from tests.engine.jobs import RED, look
from ui import cards, picker
from zoo import catalogue
from zoo.download import SUMS

FILES = [row.name for row in zoo.checkpoints().values() if row.bundled]
PHOTO = Image.new("RGB", (300, 200), (200, 40, 40))
BEST = picker.first_choice()


def delete(file):
    file.unlink()


def truncate(file):
    file.write_bytes(file.read_bytes()[:-100])


def change_one_byte(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """A copy of the bundle that a test may damage."""
    copy = shutil.copytree(catalogue.BUNDLED, tmp_path / "bundled")
    monkeypatch.setattr(catalogue, "BUNDLED", copy)
    return copy


@pytest.mark.parametrize("spoil", [delete, truncate, change_one_byte])
def test_a_damaged_file_is_named_and_the_others_still_work(bundle, spoil):
    file = bundle / f"{BEST}.safetensors"
    spoil(file)
    ran = LocalEngine()
    with pytest.raises(EngineError) as refused:
        look(Request(BEST), [RED], ran)
    assert file.name in str(refused.value)
    assert str(refused.value).endswith(".")
    other = next(name for name in FILES if name != BEST)
    assert look(Request(other), [RED], ran)[0].guesses
    assert other.partition(".")[0] in engine.search("")


def test_a_deleted_file_is_not_the_first_choice_and_its_facts_say_so(bundle):
    (bundle / f"{BEST}.safetensors").unlink()
    assert picker.first_choice() in FILES
    assert picker.first_choice() != BEST
    assert "its file is missing" in cards.facts(BEST)


def test_every_file_is_the_one_that_was_recorded():
    recorded = dict(reversed(line.split()) for line in (catalogue.BUNDLED / SUMS).read_text().splitlines())
    files = catalogue.BUNDLED.glob("*.safetensors")
    assert recorded == {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    rows = catalogue._rows(catalogue.BUNDLED / "bundled.tsv")
    assert sorted(recorded) == sorted(f"{row['name']}.safetensors" for row in rows)


def test_files_are_small():
    sizes = [file.stat().st_size for file in catalogue.BUNDLED.glob("*.safetensors")]
    assert max(sizes) <= 3e6
    assert sum(sizes) <= 30e6


def test_few_classes_are_named_and_many_are_counted():
    assert "<dt>Classes</dt><dd>airplane, automobile, bird, cat," in cards.facts(BEST)
    assert "<dt>Classes</dt><dd>1,000</dd>" in cards.facts("resnet50.a1_in1k")
    assert "<dt>Classes</dt>" not in cards.facts("vit_small_patch14_dinov2.lvd142m")
