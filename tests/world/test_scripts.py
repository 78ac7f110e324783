"""Scripts that speakers say: what a caption names is heard, whoever says it and wherever."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from talkies.config import RecipeError
from talkies.media.sound import read_audio
from talkies.world.attributes import background, face_kind
from talkies.world.config import SyntheticSource
from talkies.world.hearing import noise_kind, pitch, pitch_kind
from talkies.world.recognition import accuracy, cores, nearest, recognise, setting_kind, tail, timbre
from talkies.world.render import DOMAINS, Scene, draw_scene, render_source
from talkies.world.rooms import heard
from talkies.world.scripts import (
    FEWEST,
    MOST,
    SETTINGS,
    SYLLABLES,
    Line,
    caption,
    draw_line,
    draw_spans,
    most_syllables,
    parse,
    say,
    seconds,
)
from talkies.world.speakers import clip_group, clip_name, draw_speaker
from talkies.world.sync import sync
from talkies.world.voices import SAMPLE_RATE

SHOT = 25
SOURCE = SyntheticSource(domain="scripts", clips=48, frames=2 * SHOT, shot=SHOT)
KEY = (0, 0, DOMAINS.index("scripts"))
WINDOW, FIRST = 2.0, 0.08


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(SOURCE, index, seed=0) for index in range(SOURCE.clips)]


def sound(scene: Scene, shot: int = 0) -> Tensor:
    assert scene.media.samples is not None
    return scene.media.samples[shot * 2 * SAMPLE_RATE : (shot + 1) * 2 * SAMPLE_RATE]


def film(scene: Scene, shot: int = 0) -> Tensor:
    assert scene.media.frames is not None
    return scene.media.frames[shot * SHOT : (shot + 1) * SHOT]


def named(scene: Scene) -> Line:
    line = parse(scene.caption)
    assert line is not None
    return line


def take(speaker: int, script: Sequence[str], setting: str, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    spans = draw_spans(rng, len(script), WINDOW, FIRST)
    voice, _ = say(draw_speaker(KEY, speaker).voice, script, spans, round(WINDOW * SAMPLE_RATE), rng)
    return torch.from_numpy(heard(setting, voice, rng))


def test_captions_name_the_line_and_nothing_else() -> None:
    line = Line(script=("ba", "mi", "so"), setting="echoing")
    assert caption(line) == "<describe> An echoing recording. <script> [S1] ba mi so"
    rng = np.random.default_rng(0)
    for line in (draw_line(rng, MOST) for _ in range(50)):
        assert parse(caption(line) + "\n") == line
    for other in ("", "Somebody in a red shirt is talking.", "<describe> A loud recording. <script> [S1] ba"):
        assert parse(other) is None


def test_lines_are_equally_likely() -> None:
    rng = np.random.default_rng(1)
    lines = [draw_line(rng, MOST) for _ in range(2000)]
    syllables = [syllable for line in lines for syllable in line.script]
    for values, found in (
        (SETTINGS, [line.setting for line in lines]),
        (tuple(SYLLABLES), syllables),
        (range(FEWEST, MOST + 1), [len(line.script) for line in lines]),
    ):
        for value in values:
            assert found.count(value) / len(found) == pytest.approx(1 / len(values), abs=0.04)  # type: ignore[arg-type]


def test_what_is_said_is_heard_with_its_setting_and_the_pitch_of_the_voice(scenes: list[Scene]) -> None:
    lines = [named(scene) for scene in scenes]
    scores = [accuracy(recognise(sound(s), SAMPLE_RATE), line.script) for s, line in zip(scenes, lines, strict=True)]
    assert np.mean(scores) >= 0.95
    kinds = [setting_kind(sound(s), SAMPLE_RATE) == line.setting for s, line in zip(scenes, lines, strict=True)]
    assert np.mean(kinds) >= 0.95
    for index, scene in enumerate(scenes):
        for shot in (0, 1):
            expected = draw_speaker(KEY, index).voice.pitch
            assert pitch(sound(scene, shot), SAMPLE_RATE) == pytest.approx(expected, rel=0.05)
    others = [accuracy(recognise(sound(s, 1), SAMPLE_RATE), line.script) for s, line in zip(scenes, lines, strict=True)]
    assert np.mean(others) < 0.5, "the other shot has a script of its own"


def test_every_syllable_is_heard_from_every_kind_of_voice_in_every_setting() -> None:
    right = [
        recognise(take(speaker, (syllable, syllable), setting), SAMPLE_RATE) == (syllable, syllable)
        for speaker in range(6)
        for syllable in SYLLABLES
        for setting in SETTINGS
    ]
    assert np.mean(right) >= 0.95


def test_nothing_depends_on_the_level() -> None:
    for speaker, setting in enumerate(SETTINGS):
        loud = take(speaker, ("ba", "mi", "lu"), setting)
        soft = 0.01 * loud
        assert recognise(loud, SAMPLE_RATE) == recognise(soft, SAMPLE_RATE) == ("ba", "mi", "lu")
        assert setting_kind(loud, SAMPLE_RATE) == setting_kind(soft, SAMPLE_RATE) == setting
        assert torch.allclose(timbre(loud, SAMPLE_RATE), timbre(soft, SAMPLE_RATE), atol=1e-6)
        assert tail(loud, SAMPLE_RATE) == pytest.approx(tail(soft, SAMPLE_RATE))


def test_silence_and_short_sounds_have_no_syllables() -> None:
    for samples in (torch.zeros(SAMPLE_RATE), torch.zeros(10), torch.zeros(1)):
        assert recognise(samples, SAMPLE_RATE) == ()
        assert cores(samples, SAMPLE_RATE) == []
        assert setting_kind(samples, SAMPLE_RATE) == "clean"
        assert timbre(samples, SAMPLE_RATE).abs().max() == 0
    assert len(recognise(torch.randn(80, generator=torch.Generator().manual_seed(0)), SAMPLE_RATE)) <= 1


def test_accuracy_counts_edits() -> None:
    script = ("ba", "mi", "so", "lu")
    assert accuracy(script, script) == 1
    assert accuracy(script[1:], script) == 0.75
    assert accuracy(("ba", "ke", "so", "lu"), script) == 0.75
    assert accuracy((*script, "ba", "ba"), script) == 0.5
    assert accuracy((), script) == accuracy(("ke",) * 9, script) == 0


def test_timing_varies_and_the_length_is_predicted() -> None:
    rng = np.random.default_rng(2)
    assert most_syllables(WINDOW, FIRST) == MOST
    assert most_syllables(0.5, FIRST) < FEWEST
    for count in range(FEWEST, MOST + 1):
        drawn = [draw_spans(rng, count, WINDOW, FIRST) for _ in range(200)]
        ends = [spans[-1].start + spans[-1].length for spans in drawn]
        assert np.std(ends) > 0.03
        assert np.mean(ends) == pytest.approx(seconds(count, FIRST) - 0.15, abs=0.05)
        assert all(spans[0].start >= FIRST for spans in drawn)


def test_walls_and_faces_go_with_what_is_heard(scenes: list[Scene]) -> None:
    scores = [sync(replace(scene.media, frames=film(scene), samples=sound(scene))).correlation for scene in scenes]
    assert np.mean(scores) >= 0.95
    for scene in scenes:
        for shot in (0, 1):
            assert background(film(scene, shot)) == noise_kind(sound(scene, shot), SAMPLE_RATE)
            assert face_kind(film(scene, shot)) == pitch_kind(sound(scene, shot), SAMPLE_RATE)
    assert sum(named(scene).setting == "echoing" for scene in scenes) > 8


def test_a_timbre_tells_who_speaks_better_than_chance(scenes: list[Scene]) -> None:
    groups = [scenes[first : first + 8] for first in range(0, len(scenes), 8)]
    shots = [[[timbre(sound(s, shot), SAMPLE_RATE) for s in g] for shot in (0, 1)] for g in groups]
    found = [nearest(first, second) for first, second in shots]
    assert np.mean(np.array(found) == np.arange(8)) >= 0.3, "chance is 1 / 8"


def test_files_of_a_speaker_share_the_voice_and_read_back(tmp_path: Path) -> None:
    source = replace(SOURCE, clips=4, speakers=2, heldout=2, frames=SHOT, shot=0)
    paths = render_source(source, tmp_path / "world", seed=0)
    assert [clip_group(clip_name(source, index)) for index in range(4)] == ["speaker-00000"] * 2 + ["speaker-00001"] * 2
    for index, path in enumerate(paths):
        samples = read_audio(path, sample_rate=SAMPLE_RATE, seconds=2.0)
        assert pitch(samples, SAMPLE_RATE) == pytest.approx(draw_speaker(KEY, index // 2).voice.pitch, rel=0.05)
        assert parse(path.with_suffix(".txt").read_text()) is not None


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"frames": 9, "shot": 0}, "shots of 9 frames at 12.5 fps is too short for a script: 0.7 seconds and a frame"),
        ({"speakers": 5}, "48 clips of 5 speakers"),
        ({"shot": 24}, "make `frames` a multiple of `shot`"),
    ],
)
def test_sources_that_contradict_themselves_are_refused(keys: dict[str, int], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        draw_scene(replace(SOURCE, **keys), 0, seed=0)  # type: ignore[arg-type]


def test_the_shortest_source_can_be_drawn() -> None:
    short = replace(SOURCE, frames=10, shot=0)
    assert len(named(draw_scene(short, 0, seed=0)).script) == FEWEST
