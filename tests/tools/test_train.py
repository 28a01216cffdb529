"""Training: an interrupted run resumes exactly, and the runs that a recipe builds on are trained first."""

from dataclasses import replace

import pytest
import torch

from tools import bundle, train
from tools.recipes import LAST, PLAIN, RECIPES, architecture
from zoo.registry import variant
from zoo.weights import load

TINY = replace(PLAIN, epochs=2, batch=16, coarse=0.5)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A few images of noise, two runs of which the second builds on the first, and a folder for them."""
    taught = replace(TINY, start="resnet20_cifar-1", teachers=("resnet20_cifar-1",))
    monkeypatch.setattr(train, "RUNS", tmp_path)
    monkeypatch.setattr(train, "RECIPES", {"resnet20_cifar-1": TINY, "resnet20_cifar-2": taught})
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


def test_the_runs_of_an_architecture_are_numbered_in_order():
    for trained in LAST:
        numbers = [int(name.rpartition("-")[2]) for name in RECIPES if architecture(name) == trained]
        assert numbers == list(range(1, len(numbers) + 1))


def test_the_bundles_record_matches_the_recipes():
    for checkpoint, row in bundle.records().items():
        recipe = RECIPES[row["run"]]
        assert checkpoint == f"{architecture(row['run'])}.cifar10"
        assert (row["recipe"], row["epochs"]) == (train.told(recipe), str(recipe.epochs))


def test_an_interrupted_run_resumes_exactly(photos, tmp_path, monkeypatch):
    whole = train.train("resnet20_cifar-1", photos)
    (tmp_path / "resnet20_cifar-1.pt").unlink()
    seen = []

    def stop(*_):
        seen.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "accuracy", stop)  # called after an epoch, when that epoch is already saved
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train.train("resnet20_cifar-1", photos)
    parts = train.train("resnet20_cifar-1", photos)
    assert len(seen) == 2
    torch.testing.assert_close(parts, whole, rtol=0, atol=0)


def test_a_run_trains_what_it_builds_on_first_and_caches_the_teachers_answers(photos, tmp_path):
    train.train("resnet20_cifar-2", photos)
    assert {file.name for file in tmp_path.glob("*.pt")} == {"resnet20_cifar-1.pt", "resnet20_cifar-2.pt"}
    assert {file.name for file in tmp_path.glob("answers/*/*.pt")} == {"0.pt", "1.pt"}


def test_only_the_run_that_made_the_bundled_file_is_not_trained_again(photos, tmp_path, monkeypatch):
    assert bundle.records()["resnet9_cifar.cifar10"]["run"] == "resnet9_cifar-1"
    bundled = load("resnet9_cifar.cifar10").state_dict()
    monkeypatch.setitem(train.RECIPES, "resnet9_cifar-2", replace(TINY, start="resnet9_cifar-1"))
    made, further = (train.outcome(name, photos).state_dict() for name in ("resnet9_cifar-1", "resnet9_cifar-2"))
    torch.testing.assert_close(made, bundled, rtol=0, atol=0)
    assert any(not torch.equal(further[key], bundled[key]) for key in bundled)
    assert [file.name for file in tmp_path.glob("*.pt")] == ["resnet9_cifar-2.pt"]


def test_a_run_of_another_recipe_is_not_resumed(photos, monkeypatch):
    train.train("resnet20_cifar-1", photos)
    monkeypatch.setitem(train.RECIPES, "resnet20_cifar-1", replace(TINY, lr=0.5))
    with pytest.raises(SystemExit, match="another recipe"):
        train.train("resnet20_cifar-1", photos)
