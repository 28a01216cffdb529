"""The engine's answers, without a page."""

import pytest
import torch
from PIL import Image

import engine
import zoo
from engine import Job, LocalEngine, Request
from engine.images import decode, fit_page
from engine.search import find_class
from engine.store import Store
from tests.engine.jobs import ENGINE, RED as PHOTO, look, photo, time_it
from ui.explore import fitting_method


def test_search_by_words_glob_and_expression():
    assert engine.search("resnet18")[0] == "resnet18"
    assert set(engine.search("vit_tiny_patch16_[23]*")) == {"vit_tiny_patch16_224", "vit_tiny_patch16_384"}
    assert set(engine.search("/^resnet(18|34)$/")) == {"resnet18", "resnet34"}
    assert "swin_tiny_patch4_window7_224" in engine.search("tiny swin")
    assert engine.search("nothing is called this") == []
    assert len(engine.search("")) == 50


def test_a_broken_expression_is_refused_with_a_sentence():
    with pytest.raises(engine.EngineError, match="not a regular expression"):
        engine.search("/(/")


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


def test_classes_as_a_person_types_them():
    row = zoo.checkpoint("resnet50.a1_in1k")
    assert find_class(row, " ") is None
    assert find_class(row, "207") == 207
    assert find_class(row, "Golden Retriever") == 207
    with pytest.raises(engine.EngineError, match="fits"):
        find_class(row, "terrier")
    with pytest.raises(engine.EngineError, match="classes 0 to 999"):
        find_class(row, "1000")
    with pytest.raises(engine.EngineError, match="No class"):
        find_class(row, "spaceship of theseus")


def test_random_weights_give_no_guesses_but_a_map_and_a_latency():
    (found,) = look(Request("test_vit2", "rollout"), [PHOTO])
    assert found.guesses == []
    assert decode(found.map.layer).size == decode(found.photo).size == (300, 200)
    assert decode(found.seen).size == (160, 160)
    assert time_it("test_vit2", seconds=0.2).n >= 1


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
    assert -1 <= found.correlation <= 1
    assert found.mosaic is None  # it needs four classes, and random weights guess one


def test_an_unknown_name_is_refused_with_similar_names():
    with pytest.raises(engine.EngineError, match="resnet50"):
        engine.recipe("resnet5O")
    with pytest.raises(engine.EngineError, match="a1_in1k"):
        engine.recipe("resnet50.a1_in1")


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
    own = [look.map.values.max() for look in alone]
    assert [look.map.top for look in alone] == own
    assert [look.map.top for look in together] == [max(own)] * 2


def test_a_layer_by_its_name_or_number():
    looks = [look(Request("test_vit2", layer=layer), [PHOTO])[0] for layer in ("", "stage1")]
    assert [look.map.facts["source"] for look in looks] == ["cam", "stage1"]
    (found,) = look(Request("test_vit2", "attention", layer="2"), [PHOTO])
    assert found.map.facts["source"] == "blocks.2.attn"
    (found,) = look(Request("test_vit2", layer="stage99"), [PHOTO])
    assert found.notes == ["This model has no layer called 'stage99' to look at."]
    with pytest.raises(engine.EngineError, match="have numbers"):
        look(Request("test_vit2", "attention", layer="stage1"), [PHOTO])


def test_a_checkpoint_without_classes_is_shown_by_its_features():
    features, classes = "vit_small_patch14_dinov2.lvd142m", "vit_small_patch16_224.augreg_in1k"
    assert not engine.has_classes(features)
    assert fitting_method(features, "grad_cam") == "pca"
    assert fitting_method(features, "attention") == "attention"
    assert fitting_method(classes, "grad_cam") == "grad_cam"
    assert fitting_method("resnet50", "grad_cam") == "grad_cam"
