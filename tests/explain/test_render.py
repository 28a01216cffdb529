"""A map lies exactly where it belongs on the photo, and its colours show its values."""

import numpy as np
from PIL import Image

from explain.render import Placement, common_top, heat, layer, overlay, register
from zoo.cells import Axis, Cells


def test_a_map_over_the_whole_photo_keeps_its_cells_at_their_centres():
    values = np.array([[0.0, 1.0], [2.0, 3.0]])
    cells = Cells.even((2, 2), (32, 32))
    placed = register(values, cells, Placement((2, 2), (0, 0, 2, 2), (32, 32)))
    assert np.array_equal(placed, values)
    fine = register(values, cells, Placement((4, 4), (0, 0, 4, 4), (32, 32)))
    assert np.allclose(fine[0], [0, 0.25, 0.75, 1])  # straight lines between centres, flat beyond them
    assert np.allclose(fine[:, 0], [0, 0.5, 1.5, 2])


def test_each_cell_is_drawn_where_it_looks():
    """Cells of a padded stride-2 convolution look at pixels 0 and 2 of four, not at the middle of each half."""
    cells = Cells(Axis(2, 0.5, 2.0), Axis(1, 2.0, 4.0))
    placed = register(np.array([[1.0], [3.0]]), cells, Placement((4, 4), (0, 0, 4, 4), (4, 4)))
    assert np.allclose(placed[:, 0], [1, 2, 3, 3])
    assert np.allclose(
        register(np.array([[1.0], [3.0]]), cells, Placement((8, 8), (0, 0, 8, 8), (4, 4)))[1::4, 0], [1.25, 3]
    )


def test_a_map_of_a_crop_stays_inside_the_crop():
    placed = register(np.ones((3, 3)), Cells.even((3, 3), (9, 9)), Placement((10, 6), (2, 0, 8, 6), (9, 9)))
    assert np.isnan(placed[:, :2]).all()
    assert np.isnan(placed[:, 8:]).all()
    assert (placed[:, 2:8] == 1).all()


def test_a_crop_that_exceeds_the_photo_is_cut_at_its_edge():
    values = np.arange(4.0)[None].repeat(4, 0)
    beyond = Placement((2, 4), (-1, 0, 3, 4), (8, 8))
    placed = register(values, Cells.even((4, 4), (8, 8)), beyond)  # a cell per pixel; the outer columns lie outside
    assert np.allclose(placed, [[1, 2]] * 4)


def test_colours_run_from_zero_to_the_top():
    image = np.asarray(heat(np.array([[-5.0, 0.0, 1.0, 2.0]])))
    assert np.array_equal(image[0, 0], image[0, 1])  # negative values are drawn as zero
    brightness = image[0].astype(int).sum(-1)
    assert brightness[1] < brightness[2] < brightness[3]
    half = np.asarray(heat(np.array([[1.0]]), top=2.0))
    assert np.array_equal(half[0, 0], image[0, 2])  # a shared scale means the same colour


def test_an_empty_map_has_one_colour():
    assert len(np.unique(np.asarray(heat(np.zeros((4, 4)))).reshape(-1, 3), axis=0)) == 1


def test_a_layer_does_not_change_the_photo_outside_the_crop():
    photo = Image.new("RGB", (8, 4), (10, 20, 30))
    where = Cells.even((2, 2), (4, 4)), Placement(photo.size, (2, 0, 6, 4), (4, 4))
    drawn = overlay(photo, layer(np.ones((2, 2)), *where), opacity=1.0)
    assert drawn.getpixel((0, 0)) == (10, 20, 30)
    assert drawn.getpixel((3, 2)) != (10, 20, 30)
    assert overlay(photo, layer(np.ones((2, 2)), *where), opacity=0.0).getpixel((3, 2)) == (10, 20, 30)


def test_a_layer_that_hides_nothing_may_come_without_alpha():
    """WebP stores none where the model saw the whole photo."""
    photo, over = Image.new("RGB", (8, 4), (0, 0, 200)), Image.new("RGB", (8, 4), (200, 0, 0))
    assert overlay(photo, over, opacity=0.5).getpixel((3, 2)) == (100, 0, 100)


def test_a_common_scale_ends_at_the_largest_value_of_all_maps():
    maps = [np.array([[1.0, -9.0]]), np.array([[4.0, 2.0]])]
    assert common_top(maps) == 4
    assert common_top(maps, signed=True) == 9
    assert common_top([]) == 0
    weak, strong = (np.asarray(heat(values, top=4)) for values in maps)
    assert np.array_equal(weak[0, 0], np.asarray(heat(np.array([[1.0, 4.0]])))[0, 0])
    assert strong[0, 0].astype(int).sum() > weak[0, 0].astype(int).sum()


def test_signed_colours_are_white_at_zero_and_blue_against():
    against, nothing, speaks_for = np.asarray(heat(np.array([[-2.0, 0.0, 2.0]]), signed=True))[0].astype(int)
    assert against[2] > against[0]
    assert speaks_for[0] > speaks_for[2]
    assert nothing.min() > 240
