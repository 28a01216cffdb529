"""The checkpoints that come with the zoo, and what happens when a file is damaged."""

import hashlib
import shutil

import pytest
from PIL import Image

import engine
import zoo
from engine import EngineError, LocalEngine, Request
from tests.engine.jobs import RED, look
from ui import facts
from zoo import catalogue
from zoo.download import SUMS

FILES = [row.name for row in zoo.checkpoints().values() if row.bundled]
PHOTO = Image.new("RGB", (300, 200), (200, 40, 40))
BEST = max(FILES, key=lambda name: zoo.checkpoint(name).top1)


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
    assert file.stem in str(refused.value)
    assert str(refused.value).endswith(".")
    other = next(name for name in FILES if name != BEST)
    assert look(Request(other), [RED], ran)[0].guesses
    assert other in engine.find_models("")


def test_the_facts_of_a_deleted_file_say_so(bundle):
    (bundle / f"{BEST}.safetensors").unlink()
    assert not engine.is_local(BEST)
    assert "its file is missing" in facts.facts(BEST)


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
