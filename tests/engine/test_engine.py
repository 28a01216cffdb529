"""The engine's answers, without a page."""

import re
import sys
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import engine
import zoo
from engine import Job, LocalEngine, Request
from engine.images import decode, fit_page
from engine.store import Store, held_bytes
from tests.engine.jobs import ENGINE, RED as PHOTO, look, photo, time_it


def test_the_store_keeps_its_limit_and_drops_the_oldest():
    loaded = []

    def load(name):
        loaded.append(name)
        return torch.nn.Linear(256, 256, bias=False)  # 256 KiB

    store = Store(load, limit=600 * 1024)
    for name in "abac":
        store.get(name)
    assert loaded == ["a", "b", "c"]
    store.get("a")
    store.get("b")
    assert loaded == ["a", "b", "c", "b"]


def test_a_kept_model_can_be_had_while_another_loads():
    begun, go = threading.Event(), threading.Event()

    def load(name):
        if name == "large":
            begun.set()
            assert go.wait(10)
        return torch.nn.Linear(1, 1)

    store = Store(load)
    small = store.get("small")
    loading = threading.Thread(target=store.get, args=("large",))
    loading.start()
    assert begun.wait(10)
    assert store.get("small") is small
    go.set()
    loading.join()
    assert list(store.models) == [("small", ""), ("large", "")]


def test_two_who_need_the_same_model_load_it_once():
    loaded = []

    def load(name):
        loaded.append(name)
        time.sleep(0.05)
        return torch.nn.Linear(1, 1)

    store = Store(load)
    threads = [threading.Thread(target=store.get, args=("a",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loaded == ["a"]


def test_a_copy_is_kept_beside_its_model_and_goes_when_the_model_is_loaded_anew():
    store = Store(lambda name: torch.nn.Linear(256, 256, bias=False), limit=700 * 1024)

    def shared(model):
        return torch.nn.Sequential(model)

    copy = store.copy("a", "bfloat16", shared)
    assert store.copy("a", "bfloat16", shared) is copy and copy[0] is store.get("a")
    assert held_bytes(store.models.values()) == 256 * 1024  # what both hold counts once
    store.get("b")
    assert list(store.models) == [("a", "bfloat16"), ("a", ""), ("b", "")]
    del store.models["a", ""]
    store.get("a")
    assert ("a", "bfloat16") not in store.models


def test_room_is_made_before_a_model_is_loaded_and_circles_are_freed():
    kept, circle = [], torch.nn.Linear(256, 256, bias=False)
    object.__setattr__(circle, "itself", circle)
    gone = weakref.ref(circle)

    def load(name):
        kept.append([model for model, _ in store.models])
        return gone() if name == "a" else torch.nn.Linear(256, 256, bias=False)

    store = Store(load, 600 * 1024, lambda name: 256 * 1024)
    store.get("a")
    del circle
    for name in "bc":
        store.get(name)
    assert kept == [[], ["a"], ["b"]]
    assert gone() is None


def test_a_copy_of_its_own_counts_against_the_limit():
    store = Store(lambda name: torch.nn.Linear(256, 256, bias=False), limit=600 * 1024)
    store.get("b")
    store.copy("a", "bfloat16", lambda model: torch.nn.Linear(256, 256, bias=False))
    assert list(store.models) == [("a", ""), ("a", "bfloat16")]


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel")
def test_memory_of_dropped_models_is_given_back():
    """Small tensors, which the C library would keep for itself when they are freed."""

    def held():
        return 1024 * int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1])

    def load(name):
        return torch.nn.ParameterList([torch.ones(24_000) for _ in range(1000)])  # 96 MB

    store = Store(load, limit=150_000_000)
    store.get("first")
    before = held()
    for name in "abcd":
        store.get(name)
    assert held() < before + 60_000_000


class Greedy(torch.nn.Linear):
    """Requests more memory than any machine has when it sees an image."""

    def forward(self, x):
        return x.new_empty(1 << 60)


@pytest.mark.parametrize("kind", ["look", "time"])
def test_running_out_of_memory_is_a_sentence_and_empties_the_store(kind):
    ran = LocalEngine()
    ran.store = Store({"resnet18": Greedy(1, 1).eval(), "resnet34": zoo.create("resnet34")}.__getitem__)
    ran.store.get("resnet34")
    with pytest.raises(engine.EngineError, match="fewer photos at once, or choose a smaller model"):
        ran.perform(Job(kind, Request("resnet18"), (photo(PHOTO),)))
    assert not ran.store.models


class Broken(torch.nn.Linear):
    """Gives what is no number."""

    def forward(self, x):
        return torch.full((len(x), 1000), float(self.bias))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("method", ["", "occlusion"])
def test_outputs_that_are_no_numbers_are_a_sentence_and_no_guesses(value, method):
    ran, model = LocalEngine(), Broken(1, 1)
    torch.nn.init.constant_(model.bias, value)
    ran.store = Store({"resnet18": model.eval()}.__getitem__)
    with pytest.raises(engine.EngineError, match="outputs are infinite or not numbers"):
        ran.perform(Job("look", Request("resnet18", method), (photo(PHOTO),)))


def test_classes_as_a_person_types_them():
    row = zoo.checkpoint("resnet50.a1_in1k")
    assert engine.find_class(row, " ") is None
    assert engine.find_class(row, "207") == 207
    assert engine.find_class(row, "Golden Retriever") == 207
    with pytest.raises(engine.EngineError, match="fits"):
        engine.find_class(row, "terrier")
    with pytest.raises(engine.EngineError, match="classes 0 to 999"):
        engine.find_class(row, "1000")
    with pytest.raises(engine.EngineError, match="No class"):
        engine.find_class(row, "spaceship of theseus")


def test_random_weights_give_no_guesses_but_a_map_and_a_latency():
    (found,) = look(Request("test_vit2", "rollout"), [PHOTO])
    assert found.guesses == []
    assert found.probabilities is None
    assert decode(found.map.layer).size == decode(found.photo).size == (300, 200)
    assert decode(found.seen).size == (160, 160)
    assert time_it("test_vit2", seconds=0.2).n >= 1


def test_twenty_guesses_of_a_thousand_probabilities():
    (found,) = look(Request("tf_efficientnet_lite0.pypi_in1k"), [PHOTO])
    assert len(found.guesses) == 20
    assert found.probabilities.shape == (1000,)
    assert found.probabilities.sum() == pytest.approx(1)
    best = np.argsort(-found.probabilities)[:20]
    assert [guess.index for guess in found.guesses] == best.tolist()


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel")
def test_a_long_strip_of_pixels_fits_the_page_without_a_table_for_every_pixel():
    """Such a table took a gigabyte, and seconds in which no other thread ran."""
    status = Path("/proc/self/status")
    strip = Image.new("L", (1, 40_000_000))
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest memory so far
    assert fit_page(strip).size == (1, 640)
    now, most = (int(re.search(rf"{key}:\s+(\d+)", status.read_text())[1]) / 1024 for key in ("VmRSS", "VmHWM"))
    assert most - now < 200


def test_photos_of_any_shape_fit_the_page():
    sizes = {(32, 32): (256, 256), (300, 200): (300, 200), (4000, 3000): (640, 480), (20_000, 1): (640, 1)}
    assert {size: fit_page(Image.new("RGB", size)).size for size in sizes} == sizes


def test_a_method_that_a_model_does_not_allow_gives_a_note_in_place_of_a_map():
    (found,) = look(Request("resnet18", "rollout"), [PHOTO])
    assert found.map is None
    assert found.notes == ["There is no attention to show: it is made of convolutions alone."]


def test_photos_share_the_colours_of_features():
    photos = [PHOTO, PHOTO.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    looks = look(Request("test_vit2", "pca", together=True), photos)
    assert decode(looks[0].map.layer).getbands() == ("R", "G", "B", "A")
    assert looks[0].map.layer == looks[1].map.layer  # the photos have one colour, so a mirrored one is equal


def test_a_map_is_evaluated_against_controls():
    colours = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40)]
    photos = [Image.new("RGB", (40, 40), colour) for colour in colours]
    found = ENGINE.perform(Job("evaluate", Request("resnet20_cifar"), tuple(map(photo, photos))))
    assert list(found.figures) == ["grad_cam", "random", "centre", "edges"]
    assert found.images == 4
    assert found.pointing is None  # it needs four classes, and random weights guess one


def test_an_unknown_name_is_refused_with_similar_names():
    with pytest.raises(engine.EngineError, match="resnet50"):
        engine.recipe("resnet5O")
    with pytest.raises(engine.EngineError, match="a1_in1k"):
        engine.recipe("resnet50.a1_in1")


def test_a_name_without_end_is_refused():
    with pytest.raises(engine.EngineError) as refused:
        engine.recipe(10_000 * "x")
    assert 80 * "x" in str(refused.value) and 81 * "x" not in str(refused.value)


def test_without_a_method_there_is_no_map_and_nothing_to_say_about_it():
    known = next(name for name, row in zoo.checkpoints().items() if row.bundled)
    (found,) = look(Request(known, method="", target="no class of this name"), [PHOTO])
    assert (found.map, found.asking, found.notes) == (None, None, [])
    assert found.guesses == look(Request(known), [PHOTO])[0].guesses


def test_a_clicked_place_is_converted_to_one_in_the_crop():
    """The photo is resized to 168 x 253, and the model sees the middle 160 x 160: 4 rows at the top are cut off."""
    photos = [PHOTO, PHOTO.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    clicked = (1, (0.25, 0.5))
    looks = look(Request("test_vit2", "attention", clicked=clicked), photos)
    for found in looks:  # every photo is asked about the same place
        assert found.asking == pytest.approx((0.25, 0.5))
        assert found.map.facts["query"] == pytest.approx(((0.25 * 168 - 4) / 160, 0.5), abs=0.001)
    alike = look(Request("test_vit2", "similarity", clicked=clicked), photos)
    assert [look.asking is None for look in alike] == [True, False]  # both photos are compared with the one place
    assert look(Request("test_vit2", "grad_cam", clicked=clicked), photos)[0].asking is None
    with pytest.raises(engine.EngineError, match="outside what the model saw"):
        look(Request("test_vit2", "attention", clicked=(0, (0.5, 0.01))), photos)


def test_one_scale_for_all_photos():
    photos = [PHOTO, Image.new("RGB", (40, 40), (250, 250, 250))]
    alone, together = (look(Request("test_vit2", target="3", together=together), photos) for together in (False, True))
    own = [max(0, look.map.values.max()) for look in alone]  # negative values are drawn as zero
    assert [(look.map.low, look.map.high) for look in alone] == [(0, top) for top in own]
    assert [(look.map.low, look.map.high) for look in together] == [(0, max(own))] * 2


def test_the_ends_of_the_colour_scale():
    (signed,) = look(Request("test_vit2", target="3", signed=True), [PHOTO])
    top = abs(signed.map.values).max()
    assert (signed.map.low, signed.map.high) == (-top, top)
    (features,) = look(Request("test_vit2", "pca"), [PHOTO])
    assert (features.map.low, features.map.high) == (None, None)


def test_a_layer_by_its_name_or_number():
    looks = [look(Request("test_vit2", layer=layer), [PHOTO])[0] for layer in ("", "stage1")]
    assert [look.map.facts["source"] for look in looks] == ["cam", "stage1"]
    (found,) = look(Request("test_vit2", "attention", layer="2"), [PHOTO])
    assert found.map.facts["source"] == "blocks.2.attn"
    (found,) = look(Request("test_vit2", layer="stage99"), [PHOTO])
    assert found.notes == ["This model has no layer called 'stage99' to look at."]
    with pytest.raises(engine.EngineError, match="have numbers"):
        look(Request("test_vit2", "attention", layer="stage1"), [PHOTO])
