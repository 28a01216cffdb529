"""Notes report attention that falls on no place, with the right shares."""

import pytest
import torch

import explain
import zoo
from explain.sinks import find_sinks, tell_of_no_place, tell_of_sinks
from tests.models import build, noise
from zoo.probe import Grid, probe, whole


def features_with_sinks(*places: tuple[int, int]) -> torch.Tensor:
    features = torch.randn(1, 64, 6, 9, generator=torch.Generator().manual_seed(0))
    for row, col in places:
        features[:, :, row, col] *= 10
    return features


def test_only_outliers_are_sinks():
    found = find_sinks(features_with_sinks((2, 7), (5, 0)))
    assert found.nonzero()[:, 1:].tolist() == [[2, 7], [5, 0]]
    assert not find_sinks(features_with_sinks()).any()
    assert not find_sinks(torch.ones(2, 64, 6, 9)).any()


def test_a_note_names_the_share_and_the_places_of_sinks():
    maps = torch.full((1, 6, 9), 0.5 / 52)
    maps[0, 2, 7], maps[0, 5, 0] = 0.4, 0.1
    (note,) = tell_of_sinks(maps, features_with_sinks((2, 7), (5, 0)))
    assert note.startswith("50 % fell on 2 patches of outlying features, such as row 3, column 8 and row 6, column 1")
    assert tell_of_sinks(maps, features_with_sinks()) == []


def test_shares_of_tokens_and_padding():
    model = zoo.create("deit_tiny_distilled_patch16_224")
    mass = torch.tensor([[0.2, 0.1, 0.3, 0.25]])  # class, distilled, two patches; 0.15 is lost to padding
    assert tell_of_no_place(model, mass, Grid(2, 1, 2)) == [
        "15 % fell on padding outside the image.",
        "30 % fell on the 2 class tokens.",
    ]
    model = zoo.create("vit_dwee_patch16_reg1_gap_256")
    assert tell_of_no_place(model, torch.tensor([[0.2, 0.5, 0.3]]), Grid(1, 1, 2)) == [
        "20 % fell on 1 token that stands for no place."
    ]


@pytest.mark.parametrize("layer", [1, 3])
def test_a_sink_planted_in_a_vit_is_named(layer):
    """The patch's position embedding is scaled, so its features are outliers; norms undo that inside the blocks."""
    model, x = build("vit_cifar"), noise("vit_cifar")
    model.pos_embed.data[:, 1 + 3 * 8 + 5] *= 1e4  # row 4, column 6 of the 8 x 8 table
    x = x[:, :, :, :32]
    with torch.inference_mode(), probe(attention=whole) as seen:
        model(x)
    share = seen.attention[layer].weights[0].mean(0)[0, 1 + 3 * 8 + 5].item()
    notes = explain.explain(model, x, "attention", layer=layer).notes
    told = [note for note in notes if "outlying" in note]
    assert bool(told) == (share > 0.02)
    if told:
        assert told[0].startswith(f"{100 * share:.0f} % fell on 1 patch of outlying features, such as row 4, column 6:")
