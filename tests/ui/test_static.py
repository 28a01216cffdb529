"""The lists and the examples that the page fetches."""

import gzip
import io
import json
from collections import Counter

import pytest
from huggingface_hub import constants
from PIL import Image
from starlette.requests import Request

import engine
import zoo
from engine import find_class
from ui import static, uploads
from zoo import labels

OFFLINE = "resnet50.a1_in1k"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def ask(view, query="", *, packed=False, tag="", **path):
    headers = [(b"accept-encoding", b"gzip" if packed else b""), (b"if-none-match", tag.encode())]
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": query.encode(), "headers": headers}
    return view(Request(scope | {"path_params": path}))


def rows(view=static.models, **path):
    return json.loads(ask(view, **path).body)


def test_models_are_every_architecture_then_every_checkpoint():
    found = rows()
    shown, searched = ([row[0] for row in found if (len(row) > 7) == late] for late in (False, True))
    assert sorted(shown) == sorted(zoo.names())
    assert sorted(searched) == sorted(zoo.checkpoints())
    assert [row[0] for row in found] == shown + searched
    assert all("." in name for name in searched)
    assert not any("." in name for name in shown)


def test_models_say_what_their_first_weights_are():
    found = {row[0]: row for row in rows()}
    for name in zoo.names():
        offered = engine.offered(name)
        right = found[name][2]
        if not offered:
            assert right == static.UNTRAINED
        elif offered[0].top1 is not None:
            assert right.startswith(f"{offered[0].top1:.1f} %")
    assert found["resnet20x2_cifar"][2:4] == ["91.1 %  CIFAR-10", "offline"]


def test_models_are_ordered_offline_first_then_imagenet_then_by_accuracy():
    first = [engine.offered(row[0])[:1] for row in rows() if len(row) < 8]
    assert [bool(offer) for offer in first] == sorted((bool(offer) for offer in first), reverse=True)
    known = [row for (row,) in filter(None, first) if row.labels in ("in1k", "cifar10")]
    places = [(not zoo.is_local(row), row.labels != "in1k", -(row.top1 or 0.0)) for row in known]
    assert places == sorted(places)


def test_offline_is_told_as_it_is_now(cache):
    before = ask(static.models).headers["etag"]
    assert {row[0]: row for row in rows()}["resnet50"][3] == ""
    folder = cache / f"models--{zoo.checkpoint(OFFLINE).source.replace('/', '--')}"
    for path, text in (("refs/main", "abc"), ("snapshots/abc/model.safetensors", "")):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text(text)
    found = {row[0]: row for row in rows()}
    assert found["resnet50"][3] == found[OFFLINE][3] == "offline"
    assert ask(static.models).headers["etag"] != before


@pytest.mark.parametrize("label_set", labels.COUNTS)
def test_the_value_of_a_class_means_that_class_alone(label_set):
    found = rows(static.classes, labels=label_set)
    assert [row[1] for row in found] == list(labels.names(label_set))
    values = Counter(row[0].lower() for row in found)
    assert values.most_common(1)[0][1] == 1
    row = next(row for row in zoo.checkpoints().values() if row.labels == label_set)
    for i in {0, 1, len(found) - 1, *[i for i, (value, _) in enumerate(found) if value.isdecimal()][:20]}:
        assert find_class(row, found[i][0]) == i


def test_what_does_not_exist_is_not_found():
    assert ask(static.classes, labels="../in1k").status_code == 404
    assert ask(static.examples, name="../lion.jpg").status_code == 404


def test_an_example_is_given_whole_and_small():
    whole, small = ask(static.examples, name="lion.jpg"), ask(static.examples, "thumbnail", name="lion.jpg")
    assert whole.body == uploads.EXAMPLES["lion.jpg"].read_bytes()
    assert Image.open(io.BytesIO(small.body)).size == (96, 96)
    assert [ask(static.examples, name=name).status_code for name in uploads.EXAMPLES] == [200] * len(uploads.EXAMPLES)


def test_the_browser_gets_a_list_packed_and_once():
    plain, packed = (ask(static.classes, packed=packed, labels="in1k") for packed in (False, True))
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert packed.headers["etag"] != plain.headers["etag"]
    again = ask(static.classes, packed=True, tag="W/" + packed.headers["etag"], labels="in1k")
    assert (again.status_code, again.body) == (304, b"")
    assert ask(static.classes, packed=True, tag='"other"', labels="in1k").status_code == 200
