"""Checkpoints of HT-Demucs become the weights of a demixer without running what they name."""

import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "codecs"))
from small_demucs import checkpoint, network

from talkies.cli.main import run
from talkies.codecs.demix_config import DemucsConfig
from talkies.codecs.load import load_demixer
from talkies.config import CheckpointError, RecipeError
from talkies.runs.import_choices import Choices
from talkies.runs.import_demixer import import_demixer

ASKED = Choices(layout="htdemucs", pickle=True)


def test_checkpoints_are_imported_and_demix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        checkpoint(tmp_path / "models" / f"97d-{seed}.th", seed)
    out = tmp_path / "weights"
    words = ["import", str(tmp_path / "models"), "--as", "htdemucs", "--pickle", "--out", str(out)]
    assert run(words) == 0
    said = capsys.readouterr().out
    assert "parts a sound into music, effect, dialog: name them in this order" in said
    assert said.splitlines()[-1] == f"demixer:  {out}"
    assert sorted(path.name for path in out.iterdir()) == ["97d-0.safetensors", "97d-1.safetensors", "config.json"]
    demixer = load_demixer(DemucsConfig(weights=str(out), shifts=0, overlap=0.0), key="codecs.demix")
    sound = 0.1 * torch.randn(22050, generator=torch.Generator().manual_seed(0))
    networks = [network(seed) for seed in (0, 1)]
    with torch.no_grad():
        made = torch.stack([one.half().float()(sound.expand(1, 2, -1))[0].mean(1) for one in networks]).mean(0)
    for track, one in zip(demixer.demix(sound).values(), made, strict=True):
        torch.testing.assert_close(track, one, atol=1e-5, rtol=1e-4)


class Evil:
    """Unpickling it would make a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.place),)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    checkpoint(tmp_path / "models" / "a.th", training_args=Evil(tmp_path / "ran"))
    with pytest.raises(CheckpointError, match=r"a\.th cannot be read as plain tensors"):
        import_demixer(tmp_path / "models", tmp_path / "out", ASKED)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"klass": "HTDemucs"}, r"is no checkpoint of an HT-Demucs"),
        ({"klass": Fraction}, r"is no checkpoint of an HT-Demucs"),
        ({"kwargs": None}, r"has no arguments of its network"),
        ({"args": ([], 2)}, r"has no arguments of its network"),
        ({"args": ()}, r"does not name its sources"),
        ({"state": {"__quantized": True}}, r"has other things than tensors in `state`"),
        ({"kwargs": {"channels": torch.zeros(2)}}, r"has arguments that are no plain values"),
    ],
)
def test_other_pickles_are_refused(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    checkpoint(tmp_path / "models" / "a.th", **changes)
    with pytest.raises(CheckpointError, match=why):
        import_demixer(tmp_path / "models", tmp_path / "out", ASKED)
    assert not (tmp_path / "out").exists()


def test_a_mean_needs_networks_of_one_shape(tmp_path: Path) -> None:
    checkpoint(tmp_path / "models" / "a.th")
    checkpoint(tmp_path / "models" / "b.th", kwargs={"channels": 32})
    with pytest.raises(CheckpointError, match=r"b\.th is another network than a\.th \('\w+' differs\)"):
        import_demixer(tmp_path / "models", tmp_path / "out", ASKED)


@pytest.mark.parametrize(
    ("choices", "why"),
    [
        ({"pickle": False}, r"are pickles, which may run code: give --pickle"),
        ({"name": "x"}, r"--name says nothing about a demixer"),
        ({"drop": ["a*"]}, r"--drop says nothing about a demixer"),
        ({"link": True}, r"--link says nothing about a demixer"),
    ],
)
def test_options_that_say_nothing_are_refused(tmp_path: Path, choices: dict[str, Any], why: str) -> None:
    checkpoint(tmp_path / "models" / "a.th")
    with pytest.raises(RecipeError, match=why):
        import_demixer(
            tmp_path / "models", tmp_path / "out", Choices(**{"layout": "htdemucs", "pickle": True, **choices})
        )


def test_a_folder_without_checkpoints_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path / "gone", tmp_path):
        with pytest.raises(CheckpointError, match=r"has no \*\.th"):
            import_demixer(folder, tmp_path.parent / f"{tmp_path.name}-out", ASKED)
