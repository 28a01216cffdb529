"""The README's front matter, which configures the Space, is correct."""

from pathlib import Path

import yaml

import zoo

ROOT = Path(__file__).parent.parent


def front_matter() -> dict:
    return yaml.safe_load((ROOT / "README.md").read_text().split("---")[1])


def test_the_space_runs_the_tested_version_of_gradio():
    pinned = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line.startswith("gradio==")]
    assert pinned == [f"gradio=={front_matter()['sdk_version']}"]


def test_the_app_file_exists_and_the_description_is_short_enough():
    facts = front_matter()
    assert (ROOT / facts["app_file"]).is_file()
    assert len(facts["short_description"]) <= 60


def test_preloaded_checkpoints_are_in_the_catalogue():
    for line in front_matter()["preload_from_hub"]:
        repository, file = line.split()
        assert any(row.source == repository for row in zoo.checkpoints().values())
        assert file == "model.safetensors"
