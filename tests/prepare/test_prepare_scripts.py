"""Scripts that a text encoder would cut: their clips are quarantined; descriptions are cut and counted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from talkies.data.shards import ShardSet
from talkies.models.systems import SYSTEMS
from talkies.prepare.building import Builder
from talkies.prepare.config import PrepareConfig
from talkies.prepare.jobs import NOTHING_IN_USE, InUse
from talkies.prepare.pipeline import Report, prepare

SOUND = {"kind": "linear_audio", "channels": 6, "hop": 640}
TEXT = {"kind": "bytes", "dim": 16, "length": 6}
"""At most 6 words."""
JOINED, APART = {"sound": SOUND, "text": TEXT}, {"sound": SOUND, "script": TEXT, "description": TEXT}
SET = {"source": "media", "split": "all", "geometry": "2s", "modalities": ["audio"], "without": ["reference"]}
MOVA = {name: value for name, value in SET.items() if name != "without"}
FITS, LONG = "<script> so ba mi", "<script> so ba mi lu so ba mi lu"
WORDY = "<describe> A very calm and very low voice. <script> so ba"
RAIN = "Rain on a roof and wind in the trees."

Run = Callable[..., Report]


@pytest.fixture
def run(tmp_path: Path, make: Callable[..., Path], recipe: Callable[..., PrepareConfig]) -> Run:
    """Prepares one clip for each caption, whose name is that of its variable here."""

    def once(
        captions: dict[str, str], codecs: dict[str, Any], system: str = "mirage_audio", in_use: InUse = NOTHING_IN_USE
    ) -> Report:
        for number, (name, caption) in enumerate(captions.items()):
            if not (tmp_path / "media" / f"{name}.mp4").exists():
                make(f"{name}.mp4", seed=number, video=False, caption=caption)
        config = recipe(system=system, codecs=codecs, sets={"all": SET if system == "mirage_audio" else MOVA})
        return prepare(
            config, tmp_path / "root", systems=SYSTEMS, recipe_folder=tmp_path, progress=False, in_use=in_use
        )

    return once


def refused(report: Report) -> dict[str, str]:
    return {one.id: f"{one.reason}: {one.detail}" for one in report.sets["all"].quarantined}


def kept(folder: Path) -> set[str]:
    return {*ShardSet.open(folder / "root" / "sets" / "all").ids}


def test_a_clip_whose_script_would_be_cut_is_quarantined(run: Run, tmp_path: Path) -> None:
    """In one text with a description, that may be what is too long: the script comes last."""
    report = run({"fits": FITS, "long": LONG, "wordy": WORDY}, JOINED)
    assert refused(report) == {
        "long.mp4": "script: too long by 3 units for `codecs.text`; shorten it",
        "wordy.mp4": "script: too long by 5 units for `codecs.text`; shorten it",
    }
    assert (kept(tmp_path), report.sets["all"].truncated) == ({"fits.mp4"}, 0)


def test_a_description_is_cut_and_counted(run: Run, tmp_path: Path) -> None:
    """Beside a script of its own, and alone."""
    with pytest.warns(UserWarning, match="2 of 3 captions are longer than the text encoder accepts; they are trunc"):
        report = run({"fits": FITS, "long": LONG, "wordy": WORDY, "rain": RAIN}, APART)
    assert refused(report) == {"long.mp4": "script: too long by 2 units for `codecs.script`; shorten it"}
    assert (kept(tmp_path), report.sets["all"].truncated) == ({"fits.mp4", "wordy.mp4", "rain.mp4"}, 2)


def test_captions_of_systems_that_say_nothing_are_cut_as_ever(run: Run) -> None:
    codecs = {"audio": SOUND, "text": TEXT}
    with pytest.warns(UserWarning, match="1 of 2 captions are longer"):
        report = run({"fits": FITS, "long": LONG}, codecs, "mova")
    assert (refused(report), report.sets["all"].truncated) == ({}, 1)


def older(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prepare as an earlier version did, which cut scripts."""
    key = Builder._key
    monkeypatch.setattr(Builder, "_key", lambda self, *job, **_: key(self, *job, cut=True))
    monkeypatch.setattr("talkies.prepare.encode._too_long", lambda *_: None)


@pytest.mark.parametrize("captions", [{"fits": FITS}, {"fits": FITS, "long": LONG}], ids=["none", "one"])
def test_a_set_in_which_scripts_were_cut_is_made_again(
    run: Run, captions: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others stay, and so does one that a run has begun with."""
    with monkeypatch.context() as earlier:
        older(earlier)
        if len(captions) > 1:
            with pytest.warns(UserWarning, match="1 of 2 captions are longer"):
                old = run(captions, JOINED).sets["all"]
        else:
            old = run(captions, JOINED).sets["all"]
    assert old.kept == len(captions)
    in_use = InUse(sets=frozenset({old.fingerprint}))
    assert run(captions, JOINED, in_use=in_use).sets["all"].reused
    again = run(captions, JOINED)
    assert (again.sets["all"].reused, again.sets["all"].kept) == (len(captions) == 1, 1)
    assert run(captions, JOINED).sets["all"].reused
