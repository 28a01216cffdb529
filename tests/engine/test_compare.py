"""Comparisons of known answers: agreement, who differs, who wins, and how alike two maps are."""

import csv
import io

import numpy as np
import pytest
from PIL import Image

from engine import Encoded, Guess, Look, Map, Request, comparison_csv
from engine.compare import agreement, alike, mean_alike, outsiders, same_classes, winner
from engine.images import decode, encode_photo
from engine.tiles import SIDE, group, tile
from explain.render import Placement
from zoo.cells import Cells

CLASSES = "cat", "dog", "frog"
GREY = encode_photo(Image.new("RGB", (400, 200), (128, 128, 128)))


def drawn(values, box=(0, 0, 400, 200)):
    cells = Cells.even(values.shape[-2:], (64, 128))
    place = Placement((400, 200), box, (64, 128))
    return Map(GREY, values, False, {}, None, "", 0.0, 1.0, cells, place)


def said(*shares, values=None, box=(0, 0, 400, 200)):
    """A look whose classes have these probabilities."""
    order = np.argsort(shares)[::-1]
    guesses = [Guess(int(i), CLASSES[i], shares[i]) for i in order]
    shown = None if values is None else drawn(np.asarray(values, np.float32), box)
    return Look(GREY, GREY, "", guesses, np.array(shares, np.float32), shown, None, [])


CAT, DOG, FROG = said(0.8, 0.1, 0.1), said(0.2, 0.7, 0.1), said(0.3, 0.2, 0.5)
NONE = Look(GREY, GREY, "", [], None, None, None, ["It has no classes."])


def test_agreement_is_of_the_first_classes_photo_by_photo():
    assert agreement([CAT, CAT, DOG, NONE, "broken"], [CAT, DOG, DOG, CAT, CAT]) == [True, False, True, None, None]


def test_models_of_other_classes_do_not_compare():
    assert same_classes("resnet50.a1_in1k", "vit_base_patch16_224.augreg2_in21k_ft_in1k")
    assert not same_classes("resnet50.a1_in1k", "resnet20x2_cifar.cifar10")


@pytest.mark.parametrize(
    ("photo", "found"),
    [
        ([CAT, CAT, DOG], {2}),
        ([CAT, CAT, CAT], set()),
        ([CAT, DOG], set()),  # no majority
        ([CAT, CAT, DOG, FROG], set()),
        ([NONE, "broken", DOG], set()),
        ([CAT, NONE, CAT, DOG], {3}),
        ([], set()),
    ],
)
def test_who_leaves_the_majority(photo, found):
    assert outsiders(photo) == found


def test_the_winner_gives_the_true_class_most_even_if_it_names_another_first():
    assert winner([DOG, FROG, CAT], [0, 0, 0]) == 2
    assert winner([DOG, FROG], [0, 0]) == 1  # 0.3 for the cat is more than 0.2
    assert winner([CAT, CAT], [0, 0]) == 0
    assert winner([CAT, DOG], [None, 0]) is None  # nobody to win against
    assert winner([CAT, NONE, "broken"], [0, 0, 0]) is None


RAMP = np.tile(np.arange(8.0), (4, 1))


def test_maps_are_alike_whatever_their_grid_and_scale():
    fine = np.kron(RAMP, np.ones((3, 3)))
    assert alike(said(1, 0, 0, values=RAMP), said(1, 0, 0, values=5 * RAMP + 2)) == pytest.approx(1)
    assert alike(said(1, 0, 0, values=RAMP), said(1, 0, 0, values=-RAMP)) == pytest.approx(-1)
    assert alike(said(1, 0, 0, values=RAMP), said(1, 0, 0, values=fine)) > 0.99
    assert abs(alike(said(1, 0, 0, values=RAMP), said(1, 0, 0, values=np.sort(RAMP.T[:4].T, 0).T[::-1]))) <= 1


def test_maps_are_compared_where_both_models_looked():
    """The middle half of the photo, seen by a model that crops, is the middle half of the whole map."""
    crop = said(1, 0, 0, values=RAMP[:, 2:6] ** 2, box=(100, 0, 300, 200))
    assert alike(crop, said(1, 0, 0, values=RAMP**2)) > 0.98
    assert alike(crop, said(1, 0, 0, values=np.abs(RAMP - 3.5))) < 0.3


def test_what_cannot_be_alike_has_no_figure():
    flat, colours = said(1, 0, 0, values=np.ones((4, 8))), said(1, 0, 0, values=np.ones((3, 4, 8)))
    ramp = said(1, 0, 0, values=RAMP)
    assert [alike(ramp, other) for other in (flat, colours, CAT, "broken")] == [None] * 4
    assert mean_alike([ramp, CAT], [ramp, CAT]) == pytest.approx(1)
    assert mean_alike([CAT], [CAT]) is None


def red(image: Encoded) -> np.ndarray:
    return np.asarray(decode(image).convert("RGBA"))[..., 0].astype(int)


def test_tiles_are_small_and_share_a_colour_scale_if_asked():
    weak, strong = said(1, 0, 0, values=RAMP), said(1, 0, 0, values=10 * RAMP)
    scale = group([weak, strong, CAT, said(1, 0, 0, values=np.ones((3, 4, 8)))])
    assert len(scale) == 2
    own, common = tile(weak), tile(weak, scale)
    assert (own.photo.width, own.photo.height) == (own.layer.width, own.layer.height) == (SIDE, SIDE // 2)
    assert (own.largest, tile(strong, scale).largest) == (7.0, 70.0)
    assert red(own.layer)[:, -20:].mean() > 200 > 60 > red(common.layer)[:, -20:].mean()
    assert np.abs(red(tile(strong, scale).layer) - red(tile(strong).layer)).max() <= 8
    assert tile(CAT).layer is None and tile(CAT).largest is None


def test_a_tile_is_transparent_where_the_model_saw_nothing():
    layer = decode(tile(said(1, 0, 0, values=RAMP, box=(100, 0, 300, 200))).layer)
    alpha = np.asarray(layer.convert("RGBA"))[..., 3]
    assert alpha[:, :58].max() == 0 == alpha[:, 182:].max() and alpha[:, 62:178].min() == 255


def test_the_file_has_every_cell_and_no_formula():
    requests = [Request("one", "grad_cam"), Request("two", "")]
    text = comparison_csv(["=1+1.png", "b.png"], requests, [[CAT, "broken"], [DOG, FROG]], [[0, None], [0, None]])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["photo"] for row in rows[:3]] == ["_1+1.png"] * 3
    first = rows[0]
    assert (first["model"], first["explanation"], first["rank"], first["class"]) == ("one", "grad_cam", "1", "cat")
    assert (float(first["probability"]), first["right"], rows[3]["right"]) == (0.8, "yes", "no")
    (broken,) = [row for row in rows if row["problem"]]
    assert (broken["photo"], broken["model"], broken["problem"], broken["class"]) == ("b.png", "one", "broken", "")
    assert len(rows) == 10
