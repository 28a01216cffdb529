"""Faithfulness figures, on models whose answer is known."""

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

import explain
import zoo
from explain import faithfulness
from explain.evaluation import Sample
from explain.pixels import blur
from tests.models import build, noise
from zoo.cells import Axis, Cells
from zoo.probe import tap

RED = torch.tensor([1.0, 0, 0])[:, None, None].double()


class RedSquare(zoo.Backbone):
    """conv -> ReLU -> mean -> probability: that of class 1 is 0.1 + 0.8 times the share of red pixels."""

    num_classes, readout, no_attention = 2, "mean", "it is one convolution"

    def __init__(self):
        super().__init__()
        self.redness = nn.Conv2d(3, 1, 1, bias=False)
        self.redness.weight = nn.Parameter(torch.tensor([1.0, -1, -1]).view(1, 3, 1, 1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        red = tap("cam", self.redness(x).relu(), "NCHW").mean((1, 2, 3))
        chance = 0.1 + 0.8 * red
        return torch.stack([(1 - chance).log(), chance.log()], 1)


class Tiny(zoo.Backbone):
    """conv -> ReLU -> mean -> fc, with weights that can be shuffled."""

    num_classes, readout, no_attention, classifier_key = 5, "mean", "it is one convolution", "fc"

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, 5)
        nn.init.normal_(self.fc.weight, std=2)  # so that the guess depends on the image

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(tap("cam", self.conv(x).relu(), "NCHW").mean((2, 3)))


class FourColours(RedSquare):
    """One class per colour: red, green, blue, black."""

    num_classes = 4

    def forward(self, x: Tensor) -> Tensor:
        colours = torch.cat([x, 1 - x.amax(1, keepdim=True)], 1)
        return tap("cam", colours, "NCHW").mean((2, 3))


MODEL = RedSquare().double()


def red_square(top: int, left: int, side: int = 8) -> Tensor:
    """A red square of 4 x 4 on black. (3, 8, 8)."""
    x = torch.zeros(3, side, side, dtype=torch.float64)
    x[:, top : top + 4, left : left + 4] = RED
    return x


def test_grad_cam_finds_what_was_planted_and_nothing_else():
    for top, left in ((0, 0), (2, 3), (4, 4)):
        x = red_square(top, left)
        raw = explain.explain(MODEL, x[None], "grad_cam", target=1).raw[0]
        assert torch.equal(raw > 0, x[0] > 0)


def test_deletion_and_insertion_give_the_staircase_computed_by_hand():
    x = red_square(2, 3)
    perfect = x[0]
    curve = faithfulness.deletion(MODEL, x, perfect, 1, steps=16)  # four of 64 pixels per step; 16 of the 64 are red
    expected = [0.1 + 0.8 * max(0, 16 - 4 * k) / 64 for k in range(17)]
    assert curve.probabilities == pytest.approx(expected)
    assert curve.area == pytest.approx(torch.trapezoid(torch.tensor(expected), dx=1 / 16).item())
    reversed_ = faithfulness.deletion(MODEL, x, -perfect, 1, steps=16)
    assert reversed_.probabilities == pytest.approx([0.1 + 0.8 * min(16, 64 - 4 * k) / 64 for k in range(17)])
    large = x.repeat_interleave(8, 1).repeat_interleave(8, 2)  # a blurred small square still gives the class away
    shown, hidden = (faithfulness.insertion(MODEL, large, heat, 1, steps=16) for heat in (large[0], -large[0]))
    assert shown.probabilities[0] == pytest.approx(0.1 + 0.8 * blur(large[None])[0, 0].mean().item())
    assert shown.probabilities[0] > 0.2  # the blur keeps the red; grey would have none
    assert shown.probabilities[-1] == pytest.approx(0.3)
    assert shown.area > hidden.area


def test_a_random_order_lowers_the_class_linearly():
    x = red_square(2, 3)
    areas = []
    for seed in range(60):
        heat = torch.rand(8, 8, generator=torch.Generator().manual_seed(seed))
        areas.append(faithfulness.deletion(MODEL, x, heat, 1, steps=16).area)
    assert sum(areas) / 60 == pytest.approx((0.3 + 0.1) / 2, abs=0.01)


def test_ties_are_broken_in_row_order():
    place = faithfulness.ranking(torch.tensor([[1.0, 2.0], [2.0, 1.0]]))
    assert place.tolist() == [[2, 0], [1, 3]]


def test_a_hole_in_a_ramp_is_filled_exactly():
    rows, cols = torch.meshgrid(torch.arange(12.0), torch.arange(9.0), indexing="ij")
    ramp = torch.stack([rows, cols, 2 * rows - cols]).double()
    hole = torch.zeros(12, 9, dtype=torch.bool)
    hole[2:9, 3:7] = True
    torch.testing.assert_close(faithfulness.fill_in(ramp, hole, noise=0.0), ramp, rtol=1e-9, atol=1e-9)
    hole[:, :] = True
    hole[0, 0] = False  # all but one pixel: every pixel gets its value
    torch.testing.assert_close(
        faithfulness.fill_in(ramp + 5, hole, noise=0.0), torch.full_like(ramp, 5.0), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("corner", [False, True])
def test_a_missing_pixel_becomes_the_mean_of_its_neighbours_with_the_straight_ones_counted_twice(corner):
    x = torch.rand(3, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    row, col = (0, 0) if corner else (2, 3)
    hole = torch.zeros(5, 6, dtype=torch.bool)
    hole[row, col] = True
    straight, across = [(0, 1), (1, 0), (0, -1), (-1, 0)], [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    weights = {(row + a, col + b): 2 for a, b in straight} | {(row + a, col + b): 1 for a, b in across}
    there = {place: weight for place, weight in weights.items() if min(place) >= 0}
    expected = sum(weight * x[:, r, c] for (r, c), weight in there.items()) / sum(there.values())
    filled = faithfulness.fill_in(x, hole, noise=0.0)
    torch.testing.assert_close(filled[:, row, col], expected)
    assert torch.equal(filled[:, ~hole], x[:, ~hole])


def test_filled_pixels_get_noise_of_a_hundredth_and_the_others_none():
    hole = torch.zeros(40, 40, dtype=torch.bool)
    hole[5:35, 5:35] = True
    grain = faithfulness.fill_in(torch.ones(3, 40, 40, dtype=torch.float64), hole) - 1
    assert grain[:, hole].std().item() == pytest.approx(0.01, rel=0.1)
    assert grain[:, ~hole].abs().max() == 0


def test_road_is_half_of_what_the_most_important_pixels_take_more_than_the_least_important_ones():
    x, heat = red_square(2, 2), torch.rand(8, 8, generator=torch.Generator().manual_seed(0))
    place, losses = faithfulness.ranking(heat), []
    for count in (13, 26, 38, 51):  # a fifth, two, three and four fifths of 64
        filled = [faithfulness.fill_in(x, place < count), faithfulness.fill_in(x, place >= 64 - count)]
        most, least = faithfulness.probabilities(MODEL, filled, 1, step=2)
        losses.append(least - most)
    assert faithfulness.road(MODEL, x, heat, 1) == pytest.approx(sum(losses) / 4 / 2)


def test_road_prefers_the_true_order():
    x = red_square(2, 2)
    true = faithfulness.road(MODEL, x, x[0], 1)
    assert true > 0.02
    assert faithfulness.road(MODEL, x, -x[0], 1) == pytest.approx(-true, abs=0.01)


def test_the_random_map_is_noise_on_a_grid_of_seven():
    found = faithfulness.random_map(torch.zeros(3, 21, 35), seed=5)
    expected = torch.rand(7, 7, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(found[1::3, 2::5], expected)  # the centres of the cells


def test_no_two_photos_have_a_random_map_in_common():
    images = torch.zeros(12, 3, 8, 8)
    drawn = [noise for number, image in enumerate(images) for noise in faithfulness.controls(image, number)["random"]]
    assert len(drawn) == 12 * 4
    assert len({tuple(noise.flatten().tolist()) for noise in drawn}) == len(drawn)


def test_edges_are_found_along_both_axes():
    step = torch.zeros(3, 8, 8)
    step[:, 4:] = 1
    assert faithfulness.edge_map(step)[:, 2].tolist() == [0, 0, 0, 4, 4, 0, 0, 0]
    assert torch.equal(faithfulness.edge_map(step.transpose(1, 2)), faithfulness.edge_map(step).T)


def test_mosaic_puts_each_image_in_its_quadrant():
    colours = [torch.full((3, 6, 10), float(i)) for i in range(4)]
    whole = faithfulness.mosaic(colours)
    assert whole.shape == (3, 6, 10)
    assert whole[0, [0, 0, 5, 5], [0, 9, 0, 9]].tolist() == [0, 1, 2, 3]
    with pytest.raises(explain.ExplanationError, match="4 images, not 3"):
        faithfulness.mosaic(colours[:3])


@pytest.mark.parametrize("quadrant", range(4))
def test_grad_cam_points_at_the_planted_image_and_edges_do_not(quadrant):
    """Four chequered images of equal contrast: the planted one is red and black, the others green and black."""
    board = (torch.arange(16)[:, None] // 4 + torch.arange(16) // 4) % 2
    planted, other = torch.zeros(2, 3, 16, 16, dtype=torch.float64)
    planted[0], other[1] = board, board
    whole = faithfulness.mosaic([planted if i == quadrant else other for i in range(4)])
    result, size = explain.explain(MODEL, whole[None], "grad_cam", target=1), (16, 16)
    edges, centre = (
        faithfulness.share_in_quadrant(make(whole), quadrant, Cells.even(size, size), size)
        for make in (faithfulness.edge_map, faithfulness.centre_map)
    )
    assert faithfulness.share_in_quadrant(result.raw[0], quadrant, result.places(size), size) == pytest.approx(1)
    assert edges == pytest.approx(1 / 4, abs=0.02)
    assert centre == pytest.approx(1 / 4, abs=1e-6)


def test_shares_of_the_quadrants_add_up_even_if_a_cell_lies_across_two():
    heat = torch.rand(7, 5, generator=torch.Generator().manual_seed(0))
    cells, size = Cells.even((7, 5), (28, 30)), (28, 30)
    assert sum(faithfulness.share_in_quadrant(heat, q, cells, size) for q in range(4)) == pytest.approx(1)
    assert faithfulness.share_in_quadrant(-heat, 0, cells, size) == 0
    shifted = Cells(Axis(2, 7.0, 14.0), Axis(2, 8.0, 15.0))  # the second column spans pixels 15.5 to 30.5
    one = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    assert faithfulness.share_in_quadrant(one, 1, shifted, size) == pytest.approx(1)
    late = Cells(Axis(2, 7.0, 14.0), Axis(2, 0.0, 12.0))  # it spans 6 to 18: three quarters before the middle
    assert faithfulness.share_in_quadrant(one, 0, late, size) == pytest.approx(9 / 12)


def test_rank_correlation_is_spearmans():
    a, b = torch.randn(2, 6, 7, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    assert faithfulness.rank_correlation(a, b) == pytest.approx(
        spearmanr(a.abs().flatten(), b.abs().flatten()).statistic
    )
    assert faithfulness.rank_correlation(a, a) == pytest.approx(1)
    assert faithfulness.rank_correlation(a, torch.ones(6, 7)) == 0


@pytest.mark.parametrize("name", ["resnet32_cifar", "vit_cifar"])
def test_other_weights_give_other_maps_and_the_same_edges(name):
    model, x = build(name), noise(name)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    other = faithfulness.randomised(model)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(torch.equal(p, before[k]) for k, p in other.named_parameters() if p.numel() > 1)
    maps = [explain.explain(m, x, "grad_cam", target=3).raw for m in (model, other)]
    assert abs(faithfulness.rank_correlation(*maps)) < 0.5
    assert faithfulness.rank_correlation(*(faithfulness.edge_map(x[0]) for _ in range(2))) == pytest.approx(1)


def test_constants_are_shuffled_too():
    """A new batch norm has ones alone, which no order changes."""
    norm = nn.Sequential(nn.BatchNorm2d(64))
    scales = faithfulness.randomised(norm)[0].weight
    assert scales.std().item() == pytest.approx(0.5, rel=0.3)
    assert scales.mean().item() == pytest.approx(1, abs=0.2)


def test_every_map_is_compared_with_the_controls():
    x = torch.stack([red_square(2, 3), red_square(1, 1)])
    told = []
    found = faithfulness.measure(
        MODEL, x, {"true": x[:, 0]}, [1, 1], progress=lambda done, total: told.append((done, total))
    )
    assert list(found) == ["true", "random", "centre", "edges"]
    assert found["true"].deletion.mean < min(figures.deletion.mean for name, figures in found.items() if name != "true")
    assert found["true"].road.mean > max(figures.road.mean for name, figures in found.items() if name != "true")
    # Before and after each forward: 21, 21 and 8 for the map, four random ones, centre and edges, of two images.
    assert told == [(step + after, 2 * 7 * 50) for step in range(2 * 7 * 50) for after in (0, 1)]


@pytest.mark.parametrize("target", [[3, 1], None])
def test_an_evaluation_holds_the_figures_of_each_photo_for_its_own_class(target):
    model = Tiny().double().requires_grad_(False)
    x = torch.randn(2, 3, 14, 21, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[1, 1] += 4  # so that the guesses differ
    targets = target or model(x).argmax(1).tolist()
    assert len(set(targets)) == 2
    found = faithfulness.evaluate(model, x, "grad_cam", target=target)
    maps, others = (explain.explain(m, x, "grad_cam", target=targets) for m in (model, faithfulness.randomised(model)))
    heats = faithfulness.at_pixels(maps, (14, 21))
    for i in range(2):
        made = {
            "grad_cam": [heats[i]],
            "random": [faithfulness.random_map(x[i], seed) for seed in range(4 * i, 4 * i + 4)],
            "centre": [faithfulness.centre_map(x[i])],
            "edges": [faithfulness.edge_map(x[i])],
        }
        for name, by_hand in made.items():
            figures = found.figures[name]
            for measure, values in (("insertion", figures.insertion), ("deletion", figures.deletion)):
                curves = [getattr(faithfulness, measure)(model, x[i], heat, targets[i]) for heat in by_hand]
                assert values.values[i] == pytest.approx([curve.area for curve in curves])
            roads = [faithfulness.road(model, x[i], heat, targets[i]) for heat in by_hand]
            assert figures.road.values[i] == pytest.approx(roads)
    alike = [faithfulness.rank_correlation(a, b) for a, b in zip(maps.raw, others.raw, strict=True)]
    assert found.correlation.by_image == pytest.approx(alike)
    assert max(alike) < 0.99
    assert (found.method, found.images, found.pointing) == ("grad_cam", 2, None)


def test_mean_and_spread_are_over_photos_and_their_draws():
    found = Sample(((1.0, 3.0), (5.0, 5.0)))
    assert found.by_image == [2, 5]
    assert found.mean == 3.5
    assert found.spread == pytest.approx(torch.tensor([1.0, 3, 5, 5]).std().item())
    assert Sample(((1.0,),)).spread is None


def test_the_pointing_game_takes_the_first_photo_of_each_class_and_finds_it():
    red, green, blue, black = torch.eye(4, dtype=torch.float64)[:, :3, None, None].expand(4, 3, 8, 8)
    x = torch.stack([red, red / 2, green, blue, black])
    found = faithfulness.evaluate(FourColours().double(), x, "hires_cam", target=None)
    assert found.pointing is not None
    assert found.pointing.by_image == pytest.approx([1, 1, 1, 1])
    assert faithfulness.evaluate(FourColours().double(), x[:4], "hires_cam", target=None).pointing is None
