"""What a run notes of voices that were cloned with its model."""

import json
import logging
from pathlib import Path

import pytest

from talkies.runs.cloned import CLONED, CONSENT, VOICE, note_cloned

TAGS = {VOICE: "cloned from a recording, sha256 00", CONSENT: "hers"}


def test_every_clip_in_a_cloned_voice_is_noted_with_its_consent(tmp_path: Path) -> None:
    note_cloned(tmp_path, Path("a.wav"), TAGS, verb="sample")
    note_cloned(tmp_path, Path("b.wav"), {VOICE: TAGS[VOICE]}, verb="sample")
    lines = [json.loads(line) for line in (tmp_path / CLONED).read_text().splitlines()]
    assert [(line["file"], line["consent"]) for line in lines] == [("a.wav", "hers"), ("b.wav", None)]
    assert {line["voice"] for line in lines} == {TAGS[VOICE]}


def test_other_clips_and_models_without_a_run_are_not_noted(tmp_path: Path) -> None:
    note_cloned(tmp_path, Path("a.wav"), {"title": "x"}, verb="sample")
    note_cloned(None, Path("a.wav"), TAGS, verb="sample")
    assert not list(tmp_path.iterdir())


def test_a_run_that_cannot_be_written_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        note_cloned(tmp_path / "gone", Path("a.wav"), TAGS, verb="perform")
    assert "perform: cannot note the cloned voice" in caplog.text
