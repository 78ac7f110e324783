"""Passages: sound from outside of the window, the same for every stream, and files that have none."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from talkies.codecs.config import ByteTextConfig, LinearAudioConfig
from talkies.codecs.load import load_codecs
from talkies.config import DataError, RecipeError
from talkies.data.collate import collate
from talkies.data.shards import ShardSet
from talkies.media.loudness import loudness
from talkies.media.timeline import Beginning
from talkies.models.systems import SYSTEMS
from talkies.prepare.config import PrepareConfig
from talkies.prepare.passages import REACH, Passage, read_passage, stretch
from talkies.prepare.pipeline import Report, prepare
from talkies.prepare.plan import SetPlan, plan
from talkies.prepare.rejection import Rejected

RATE = 16000
CODECS: dict[str, Any] = {
    "sound": {"kind": "linear_audio", "channels": 6, "hop": 640},
    "voice": {"kind": "waveform", "hop": 640},
    "text": {"kind": "bytes", "dim": 16, "length": 12},
}
SET: dict[str, Any] = {"source": "media", "split": "all", "geometry": "2s", "modalities": ["audio"]}


def babble(seconds: float, seed: int) -> Tensor:
    """[S]: tones whose pitch and loudness change ten times a second."""
    rng, length = torch.Generator().manual_seed(seed), round(RATE * seconds)
    pitches, louder = (torch.rand(length // 1600 + 1, generator=rng).repeat_interleave(1600)[:length] for _ in range(2))
    phase = (2 * torch.pi * (200 + 1500 * pitches) / RATE).cumsum(0)
    return 0.1 * (0.5 + louder) * (phase.sin() + 0.5 * (3 * phase).sin())


def written(path: Path, sound: Tensor, codec: str = "pcm_f32le", caption: str = "<script> Hello.") -> Path:
    """A mono file of a sound, with its caption."""
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=RATE, layout="mono")
        wanted = stream.codec_context.format.name
        plain = av.AudioFrame.from_ndarray(sound.numpy()[None].astype(np.float32), format="flt", layout="mono")
        plain.sample_rate, plain.pts, plain.time_base = RATE, 0, Fraction(1, RATE)
        resampler = av.AudioResampler(wanted, "mono", RATE, frame_size=stream.codec_context.frame_size or 1024)
        for frame in (*resampler.resample(plain), *resampler.resample(None)):
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    path.with_suffix(".txt").write_text(caption)
    return path


@pytest.fixture
def made(recipe: Callable[..., PrepareConfig]) -> Callable[..., PrepareConfig]:
    def build(codecs: dict[str, Any] | None = None, **keys: Any) -> PrepareConfig:
        return recipe(system="mirage_audio", codecs=codecs or CODECS, sets={"all": {**SET, **keys}})

    return build


@pytest.fixture
def planned(made: Callable[..., PrepareConfig]) -> Callable[..., SetPlan]:
    return lambda **keys: plan(made(**keys), SYSTEMS)["all"]


@pytest.fixture
def run(tmp_path: Path, made: Callable[..., PrepareConfig]) -> Callable[..., Report]:
    def once(**keys: Any) -> Report:
        return prepare(made(**keys), tmp_path / "root", systems=SYSTEMS, recipe_folder=tmp_path, progress=False)

    return once


def opened(tmp_path: Path) -> ShardSet:
    return ShardSet.open(tmp_path / "root" / "sets" / "all")


def at(seconds: float) -> Beginning:
    return Beginning(seconds=seconds, picture=None, sound=0.0)


def test_a_stretch_lies_on_one_side_and_has_any_length() -> None:
    found = [stretch(str(name), 0, (50, 90), 10, 40) for name in range(400)]
    assert found == [stretch(str(name), 0, (50, 90), 10, 40) for name in range(400)]
    assert found != [stretch(str(name), 1, (50, 90), 10, 40) for name in range(400)]
    lengths, ends = set[int](), {0: set[int](), 1: set[int]()}
    for entry in found:
        assert entry is not None
        side, first, length = entry
        lengths.add(length)
        ends[side] |= {first, first + length}
    assert (min(lengths), max(lengths)) == (10, 40)
    assert (min(ends[0]), max(ends[0])) == (0, 50)
    assert (min(ends[1]), max(ends[1])) == (0, 90)
    assert stretch("a", 0, (9, 0), 10, 40) is None
    assert stretch("a", 0, (0, 10), 10, 40) == (1, 0, 10)


def test_a_passage_is_sound_before_or_after_the_window(tmp_path: Path, planned: Callable[..., SetPlan]) -> None:
    sound = babble(9.0, 0)
    path, wanted, starts = written(tmp_path / "media" / "a.wav", sound), planned(), set[bool]()
    for name in map(str, range(12)):
        found = read_passage(path, wanted, at(3.5), name)
        first = round((3.5 + found.start) * RATE)
        assert RATE <= found.real <= 2 * RATE == len(found.samples)
        assert torch.equal(found.samples[: found.real], sound[first : first + found.real])
        assert not found.samples[found.real :].any()
        assert first + found.real <= 3.5 * RATE or first >= 5.5 * RATE
        starts.add(found.start < 0)
        assert same(found, read_passage(path, wanted, at(3.5), name))
    assert starts == {True, False}


def same(one: Passage, other: Passage) -> bool:
    return (one.start, one.real) == (other.start, other.real) and torch.equal(one.samples, other.samples)


def test_a_passage_is_within_reach_and_has_the_sets_loudness(tmp_path: Path, planned: Callable[..., SetPlan]) -> None:
    path = written(tmp_path / "media" / "a.wav", babble(2 * REACH, 1))
    found = [read_passage(path, planned(lufs=-30.0), at(0.0), str(name)) for name in range(8)]
    ends = [one.start + one.real / RATE for one in found]
    assert all(one.start >= 2 for one in found)
    assert REACH / 2 < max(ends) <= REACH + 2
    assert [loudness(one.samples[: one.real], RATE) for one in found] == pytest.approx([-30.0] * 8, abs=0.1)


def test_pauses_are_passed_over_and_silence_is_no_passage(tmp_path: Path, planned: Callable[..., SetPlan]) -> None:
    sound = babble(14.0, 2)
    sound[2 * RATE : 10 * RATE] = 0
    wanted, path = planned(), written(tmp_path / "media" / "a.wav", sound)
    for name in map(str, range(8)):
        found = read_passage(path, wanted, at(0.0), name)
        assert found.start + found.real / RATE > 10
    sound[10 * RATE :] = 0
    path = written(tmp_path / "media" / "b.wav", sound)
    with pytest.raises(Rejected, match=r"no reference: its sound outside of its window of 2\.000 s is silent; use lo"):
        read_passage(path, wanted, at(0.0), "b")


def test_a_set_holds_the_same_passage_by_both_codecs(run: Callable[..., Report], tmp_path: Path) -> None:
    sounds = {f"{seed}.wav": babble(8.0, seed) for seed in range(3)}
    for name, sound in sounds.items():
        written(tmp_path / "media" / name, sound)
    assert run().sets["all"].kept == 3
    shards = opened(tmp_path)
    assert shards.header.geometry == "1x1x2000@1000"
    assert shards.seconds == 2
    with pytest.raises(DataError, match=r"has geometry 2s, the recipe expects 2\.5s: set `data\.geometry` to 2s, or"):
        shards.check({}, "1x1x2500@1000", ["sound"])
    assert dict(shards.header.made_by) == {"sound": "sound", "reference": "sound", "voice": "voice", "text": "text"}
    assert shards.grids["reference"] == shards.grids["sound"]
    config = LinearAudioConfig(channels=6, hop=640)
    codec = load_codecs({"sound": config}, tmp_path / "root" / "codecs").audio["sound"]
    clips = [shards.read(i) for i in range(3)]
    for clip in clips:
        voice, reference, sound = clip.streams["voice"], clip.streams["reference"], sounds[clip.id]
        assert voice.start == reference.start
        assert voice.start is not None
        assert voice.valid == reference.valid
        assert clip.streams["sound"].start is None
        samples = voice.values.T.flatten()
        first, size = round(RATE * voice.start), (voice.valid - 1) * 640
        assert torch.equal(samples[:size], sound[first : first + size])
        torch.testing.assert_close(reference.values, codec.encode(samples[None])[0], atol=1e-5, rtol=1e-5)
    batch = collate(clips, [0] * 3, shards.null_texts).streams
    assert batch["reference"].role == batch["voice"].role == "reference"
    for name in ("reference", "voice"):
        assert batch[name].valid.sum(1).tolist() == [clip.streams[name].valid for clip in clips]
    assert run().sets["all"].reused


def test_a_file_without_other_sound_is_quarantined_unless_the_set_leaves_references_out(
    run: Callable[..., Report], tmp_path: Path
) -> None:
    for seed, seconds in enumerate((2.5, 5.0, 5.0, 0.7)):
        written(tmp_path / "media" / f"{seed}.wav", babble(seconds, seed))
    report = run().sets["all"]
    assert report.kept == 2
    assert {(one.id, one.reason) for one in report.quarantined} == {
        ("0.wav", "no reference"),
        ("3.wav", "no reference"),
    }
    assert report.quarantined[0].detail == (
        "its sound outside of its window of 2.000 s is shorter than 1.000 s; use longer files, or leave references "
        "out: `sets.all.without` = [reference, voice]"
    )
    report = run(without=["reference", "voice"]).sets["all"]
    assert (report.kept, report.padded) == (4, 1)
    shards = opened(tmp_path)
    valid = {clip.id: clip.streams["sound"].valid for clip in map(shards.read, range(4))}
    assert valid == {"0.wav": 50, "1.wav": 50, "2.wav": 50, "3.wav": 18}
    sound = collate([shards.read(i) for i in range(4)], [0] * 4, shards.null_texts).streams["sound"]
    assert {clip: int(steps) for clip, steps in zip(shards.ids, sound.valid.sum(1), strict=True)} == valid


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [(".wav", "pcm_s16le"), (".flac", "flac"), (".mp3", "libmp3lame"), (".m4a", "aac"), (".ogg", "libopus")],
)
def test_files_of_sound_alone(run: Callable[..., Report], tmp_path: Path, suffix: str, codec: str) -> None:
    sound = babble(6.0, 5)
    written(tmp_path / "media" / f"a{suffix}", sound, codec)
    report = run()
    assert report.sets["all"].kept == 1, report.lines()
    voice = opened(tmp_path).read(0).streams["voice"]
    assert voice.start is not None
    first = round(RATE * voice.start)
    heard, real = voice.values.T.flatten(), sound[first : first + 640 * voice.valid]
    assert torch.corrcoef(torch.stack([heard[: len(real)], real]))[0, 1] > 0.9


def test_copies_of_a_film_are_used_once(run: Callable[..., Report], make: Callable[..., Path], tmp_path: Path) -> None:
    """Their pictures are compared, too, though only the sound is used."""
    film = make("a.mp4", frames=60, seed=1)
    film.with_name("b copy.mp4").write_bytes(film.read_bytes())
    film.with_name("b copy.txt").write_text("the same")
    make("c.mp4", frames=60, seed=2)
    report = run()
    assert report.sets["all"].kept == 2
    assert [(one.id, one.of, one.kept) for one in report.copies["media"]] == [("b copy.mp4", "a.mp4", False)]
    assert {*opened(tmp_path).ids} == {"a.mp4", "c.mp4"}


def test_every_text_encodes_its_part_of_the_caption(run: Callable[..., Report], tmp_path: Path) -> None:
    line = "<describe> A calm voice. <script> [S1] Hello. [S2] Hi!"
    for name, caption in (("a", line), ("b", "Rain on a roof."), ("c", "<script> Hel\x07lo."), ("d", "<script> ...")):
        written(tmp_path / "media" / f"{name}.wav", babble(6.0, ord(name)), caption=caption)
    codecs = {"sound": CODECS["sound"], "script": CODECS["text"], "description": CODECS["text"]}
    report = run(codecs=codecs, without=["reference"], duration_token=True).sets["all"]
    assert {one.id: f"{one.reason}: {one.detail}" for one in report.quarantined} == {
        "c.wav": "script: it has the control character U+0007 at position 3",
        "d.wav": "script: it says nothing: no letter and no digit",
    }
    shards = opened(tmp_path)
    encoder = load_codecs({"text": ByteTextConfig(dim=16, length=12)}, None).text["text"]
    found = {clip.id: clip.texts for clip in map(shards.read, range(2))}
    parts = {name: text.caption for name, text in found["a.wav"].items()}
    assert parts == {"script": "[S1] Hello. [S2] Hi!", "description": "A calm voice. Duration 2.0 seconds."}
    parts = {name: text.caption for name, text in found["b.wav"].items()}
    assert parts == {"script": "", "description": "Rain on a roof. Duration 2.0 seconds."}
    for texts in found.values():
        for text in texts.values():
            encoded = encoder.encode([text.caption])
            assert torch.equal(text.features, encoded.embedding[0, : int(encoded.length)])
    assert shards.null_texts.keys() == {"script", "description"}


def test_recordings_that_no_voice_is_learned_from_are_quarantined(run: Callable[..., Report], tmp_path: Path) -> None:
    """Each with its reason; the others are kept."""
    sounds = {"good": babble(6.0, 1), "silent": torch.zeros(6 * RATE), "clipped": (8 * babble(6.0, 2)).clamp(-0.5, 0.5)}
    for name, sound in sounds.items():
        written(tmp_path / "media" / f"{name}.wav", sound)
    written(tmp_path / "media" / "long.wav", babble(6.0, 3), caption=f"<script> {'a' * 70_000}")
    report = run().sets["all"]
    assert report.kept == 1
    found = {one.id: one.reason for one in report.quarantined}
    assert found == {"silent.wav": "silent", "clipped.wav": "clipped", "long.wav": "caption too long"}


def test_a_codec_that_hears_more_than_a_passage_is_refused(planned: Callable[..., SetPlan]) -> None:
    codecs = {"sound": {"kind": "wav2vec2"}, "text": CODECS["text"]}
    with pytest.raises(
        RecipeError, match=r"`codecs\.sound\.kind` is wav2vec2, which hears more .* `sets\.all\.without"
    ):
        planned(codecs=codecs)
