"""A curriculum is identified by its resolved paths, not by their spelling."""

from pathlib import Path

import pytest

from talkies.config import RecipeError
from talkies.models.systems import SYSTEMS
from talkies.recipe.curriculum import load_curriculum

TOY = Path(__file__).parents[2] / "recipes" / "mova" / "toy"
PREPARE = """
kind: prepare
name: mine
sources: {{clips: {{kind: folder, path: "{path}"}}}}
codecs: {{video: {{kind: linear_video}}, audio: {{kind: linear_audio}}, text: {{kind: bytes}}}}
fit_sets: [low]
sets: {{low: {{source: clips, geometry: 64x64x25@12}}}}
"""


def digest(folder: Path, path: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "prepare.yaml").write_text(PREPARE.format(path=path))
    phase = TOY / "audio_pretraining.yaml"
    text = f"kind: curriculum\nname: mine\nprepare: prepare.yaml\nphases: [{phase}]\n"
    (folder / "curriculum.yaml").write_text(text)
    return load_curriculum(folder / "curriculum.yaml", [], systems=SYSTEMS).digest


def test_resolved_paths_identify_a_curriculum(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    assert digest(a, "./clips") != digest(b, "./clips")
    assert digest(a, "./clips") == digest(b, str(a / "clips")) == digest(b, "../a/clips")


def test_an_unknown_home_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"`sources\.clips\.path` is '~nobody-here/clips': .*write the whole path"):
        digest(tmp_path, "~nobody-here/clips")
