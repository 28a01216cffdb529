"""Training: a run that is stopped goes on as if it had not been, and what a run builds on is gone through before it."""

from dataclasses import replace

import pytest
import torch

from tools import train
from tools.recipes import PLAIN, RECIPES, architecture
from zoo import catalogue
from zoo.registry import variant

TINY = replace(PLAIN, epochs=2, batch=16, coarse=0.5)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A few pictures of noise, two runs of which one builds on the other, and a folder for them."""
    taught = replace(TINY, start="resnet9_cifar-1", teachers=("resnet9_cifar-1",))
    monkeypatch.setattr(train, "RUNS", tmp_path)
    monkeypatch.setattr(train, "RECIPES", {"resnet9_cifar-1": TINY, "resnet9_cifar-2": taught})
    rng = torch.Generator().manual_seed(0)
    train_x, test_x = (torch.randint(256, (48, side, side, 3), dtype=torch.uint8, generator=rng) for side in (40, 32))
    y = torch.randint(10, (48,), generator=rng)
    return train.Photos(train_x, y, test_x, y)


def test_every_recipe_trains_an_architecture_and_builds_on_known_runs():
    for name, recipe in RECIPES.items():
        variant(architecture(name))
        before = [*recipe.teachers, *([recipe.start] if recipe.start else [])]
        assert set(before) <= set(RECIPES)
        assert name not in before
    assert {architecture(name) for name in RECIPES} <= set(RECIPES)


def test_the_bundles_record_tells_the_recipes():
    rows = {row["name"].removesuffix(".cifar10"): row for row in catalogue._rows(catalogue.BUNDLED / "bundled.tsv")}
    assert set(rows) == {architecture(name) for name in RECIPES}
    for name, row in rows.items():
        assert (row["recipe"], row["epochs"]) == (train.told(RECIPES[name]), str(RECIPES[name].epochs))


def test_a_run_that_is_stopped_goes_on_as_if_it_had_not_been(photos, tmp_path, monkeypatch):
    whole = train.train("resnet9_cifar-1", photos)
    (tmp_path / "resnet9_cifar-1.pt").unlink()
    seen = []

    def stop(*_):
        seen.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "accuracy", stop)  # is asked behind an epoch, when that epoch is saved
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train.train("resnet9_cifar-1", photos)
    parts = train.train("resnet9_cifar-1", photos)
    assert len(seen) == 2
    torch.testing.assert_close(parts, whole, rtol=0, atol=0)


def test_what_a_run_builds_on_is_trained_first_and_the_teachers_answers_are_kept(photos, tmp_path):
    train.train("resnet9_cifar-2", photos)
    assert {file.name for file in tmp_path.glob("*.pt")} == {"resnet9_cifar-1.pt", "resnet9_cifar-2.pt"}
    assert {file.name for file in tmp_path.glob("answers/*/*.pt")} == {"0.pt", "1.pt"}


def test_a_run_of_another_recipe_is_not_gone_on_with(photos, monkeypatch):
    train.train("resnet9_cifar-1", photos)
    monkeypatch.setitem(train.RECIPES, "resnet9_cifar-1", replace(TINY, lr=0.5))
    with pytest.raises(SystemExit, match="another recipe"):
        train.train("resnet9_cifar-1", photos)
