"""Files to save: the map of a photo, everything of all photos, and all probabilities."""

import csv
import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import engine
import zoo
from engine import EngineError, Guess, Request, images
from tests.engine.jobs import RED, look

NAMES = engine.class_names(zoo.checkpoint("resnet32_cifar.cifar10"))
FILES = ["map.json", "map.npy", "map.png", "overlay.png"]


def opened(content):
    return zipfile.ZipFile(io.BytesIO(content))


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def found():
    return look(Request("resnet32_cifar.cifar10"), [RED])[0]


def test_the_archive_of_a_map_holds_its_values_facts_and_layer(found):
    with opened(engine.archive(found)) as kept:
        assert sorted(kept.namelist()) == FILES
        assert np.array_equal(np.load(io.BytesIO(kept.read("map.npy"))), found.map.values)
        assert json.loads(kept.read("map.json"))["model"] == "resnet32_cifar.cifar10"
        drawn = Image.open(io.BytesIO(kept.read("map.png")))
        assert drawn.tobytes() == images.decode(found.map.layer).tobytes()
    with pytest.raises(EngineError, match="no map"):
        engine.archive(replace(found, map=None))


def test_the_archive_of_all_photos(found):
    guesses = [Guess(3, "cat", 0.75), Guess(5, "dog", 0.25)]
    shown = [
        ("a.png", replace(found, guesses=guesses)),
        ("b.png", replace(found, guesses=guesses, map=None)),
        ("c.png", found),
    ]
    with opened(engine.archive_all(shown, NAMES, [5, 3, None])) as kept:
        assert sorted(kept.namelist()) == [
            *(f"a.png/{f}" for f in FILES),
            *(f"c.png/{f}" for f in FILES),
            "predictions.csv",
        ]
        assert np.array_equal(np.load(io.BytesIO(kept.read("c.png/map.npy"))), found.map.values)
        rows = table(kept.read("predictions.csv").decode())
    assert [list(row.values()) for row in rows[:4]] == [
        ["a.png", "1", "3", "cat", "0.75", "dog", "no"],
        ["a.png", "2", "5", "dog", "0.25", "dog", "yes"],
        ["b.png", "1", "3", "cat", "0.75", "cat", "yes"],
        ["b.png", "2", "5", "dog", "0.25", "cat", "no"],
    ]
    assert list(rows[0]) == ["photo", "rank", "class index", "class", "probability", "truth", "right"]
    assert [(row["photo"], row["truth"], row["right"]) for row in rows[4:]] == [("c.png", "", "")] * 10
    with pytest.raises(EngineError, match="classify a photo first"):
        engine.archive_all([])


def test_names_in_the_archive_are_safe_and_unique(found):
    given = [
        "image.png",
        "image.png",
        "IMAGE.png",
        "../../etc/passwd",
        "C:\\x\\y.jpg",
        "=1+2.png",
        "..",
        "",
        "predictions.csv",
    ]
    given += ["a\nb\x00.png", "löwe.jpg", "-rf.png", "a" * 300 + ".png"]
    with opened(engine.archive_all([(file, found) for file in given])) as kept:
        folders = list(dict.fromkeys(name.split("/")[0] for name in kept.namelist() if "/" in name))
        assert all(name.count("/") <= 1 for name in kept.namelist())
        assert len(kept.namelist()) == len(set(kept.namelist())) == 1 + 4 * len(given)
    assert folders == [
        "image.png", "image-2.png", "IMAGE-3.png", "passwd", "y.jpg", "_1+2.png", "photo", "photo-2",
        "predictions-2.csv", "a_b_.png", "löwe.jpg", "rf.png", "a" * 100 + ".png",
    ]  # fmt: skip


def test_all_probabilities_the_most_probable_first(found):
    rows = table(engine.probabilities_csv(found, NAMES))
    assert [row["class"] for row in rows] == [guess.label for guess in found.guesses]
    assert {row["class"] for row in rows} == set(NAMES)
    assert all(float(row["probability"]) == found.probabilities[int(row["class index"])] for row in rows)
    assert [row["rank"] for row in rows] == [str(i) for i in range(1, 11)]
    with pytest.raises(EngineError, match="trained weights"):
        engine.probabilities_csv(replace(found, probabilities=None), NAMES)
