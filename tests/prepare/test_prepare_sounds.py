"""Sound for encoders that hear more than the window, and sound of other forms."""

import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from talkies.codecs.config import Wav2Vec2Config
from talkies.codecs.load import load_codecs
from talkies.codecs.long_sound import features
from talkies.data.shards import ShardSet
from talkies.media.sound import read_audio
from talkies.models.systems import SYSTEMS
from talkies.prepare.clips import read_clip
from talkies.prepare.config import PrepareConfig
from talkies.prepare.items import Item
from talkies.prepare.pipeline import Report, prepare
from talkies.prepare.plan import plan
from talkies.prepare.reading import Reader

sys.path.append(str(Path(__file__).parents[1] / "codecs"))

from small_speech import written

Maker = Callable[..., Path]
TEXT = {"kind": "bytes", "dim": 16, "length": 6}
LOG_MEL = {"kind": "log_mel", "channels": 12}
AUDIO = {"source": "media", "split": "all", "geometry": "32x32x25@12", "modalities": ["audio"]}


@pytest.fixture
def run(tmp_path: Path, recipe: Callable[..., PrepareConfig]) -> Callable[..., Report]:
    """Prepare the sound of the media folder for Mirage."""

    def once(sound: dict[str, Any], **keys: Any) -> Report:
        made = recipe(
            system="mirage", codecs={"sound": sound, "text": TEXT}, sets={"all": {**AUDIO, **keys}}, fit_sets=[]
        )
        return prepare(made, tmp_path / "root", systems=SYSTEMS, recipe_folder=tmp_path, progress=False)

    return once


def opened(tmp_path: Path) -> ShardSet:
    return ShardSet.open(tmp_path / "root" / "sets" / "all")


def wav(path: Path, *channels: torch.Tensor, rate: int = 16000) -> Path:
    """A file of 16-bit sound with a caption."""
    path.parent.mkdir(exist_ok=True)
    packed = (torch.stack(channels, dim=1).reshape(1, -1) * 32767).round().short().numpy()
    with av.open(str(path), "w") as out:
        layout = "stereo" if len(channels) == 2 else "mono"
        stream = out.add_stream("pcm_s16le", rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        out.mux([*stream.encode(frame), *stream.encode(None)])
    path.with_suffix(".txt").write_text("a hum")
    return path


def test_features_of_a_clip_are_a_slice_of_those_of_its_file(
    make: Maker, run: Callable[..., Report], tmp_path: Path
) -> None:
    path = make("a.mp4", frames=60)
    folder = written(tmp_path / "weights", "wav2vec2")
    values: dict[str, Any] = {"kind": "wav2vec2", "channels": 32, "weights": str(folder), "piece": 2, "context": 1}
    run(values)
    stored = opened(tmp_path).read(0).streams["sound"].values
    config = Wav2Vec2Config(channels=32, weights=str(folder), piece=2, context=1)
    encoder = load_codecs({"sound": config}, None).audio["sound"]
    sound = read_audio(path, sample_rate=16000, seconds=6)
    assert len(sound) > config.longest * 16000  # a long file
    whole = features(encoder, config, sound)
    steps = stored.shape[1]
    assert steps == 53
    torch.testing.assert_close(stored, whole[:, :steps], atol=1e-5, rtol=1e-5)
    alone = encoder.encode(sound[None, : steps * 640])[0]
    assert (alone - stored).abs().max() > 1e-2
    assert run(values).sets["all"].reused
    assert not run({**values, "align_corners": False}).sets["all"].reused
    assert (opened(tmp_path).read(0).streams["sound"].values - stored).abs().max() > 1e-2


def test_films_of_24_frames_a_second_have_as_many_features(
    make: Maker, run: Callable[..., Report], tmp_path: Path
) -> None:
    """A step of 2000 / 3 samples a frame, of a file that is encoded in pieces."""
    path = make("a.mp4", frames=120, fps=24.0)
    folder = written(tmp_path / "weights", "wav2vec2")
    values: dict[str, Any] = {"kind": "wav2vec2", "channels": 64, "layers": "all", "rate": 24, "piece": 2, "context": 1}
    run({**values, "weights": str(folder)}, geometry="32x32x49@24")
    clip = opened(tmp_path).read(0).streams["sound"]
    config = Wav2Vec2Config(**{**values, "weights": str(folder)})
    sound = read_audio(path, sample_rate=16000, seconds=6)
    assert len(sound) > config.longest * 16000
    expected = features(load_codecs({"sound": config}, None).audio["sound"], config, sound)
    assert (tuple(clip.values.shape), clip.grid.rate) == ((64, 49), 24)
    torch.testing.assert_close(clip.values, expected[:, :49], atol=1e-5, rtol=1e-5)


def test_the_file_is_heard_from_its_beginning_where_the_window_begins_later(
    recipe: Callable[..., PrepareConfig], tmp_path: Path
) -> None:
    """Sound from 0 on, pictures from 1.03 s on: the slice begins 25 whole steps after the file, less 30 ms."""
    rate, path = 16000, tmp_path / "media" / "a.mkv"
    path.parent.mkdir()
    generator = np.random.default_rng(0)
    sound = (0.2 * generator.standard_normal(4 * rate)).clip(-1, 1).astype(np.float32)
    with av.open(str(path), "w") as out:
        video, audio = out.add_stream("libx264", rate=12), out.add_stream("pcm_f32le", rate=rate, layout="mono")
        video.height, video.width, video.pix_fmt = 32, 32, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        for index in range(26):
            pixels = generator.integers(0, 256, (48, 32), dtype=np.uint8)
            picture = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
            picture.pts, picture.time_base = 1030 + round(1000 * index / 12), Fraction(1, 1000)
            out.mux(video.encode(picture))
        out.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(sound[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        out.mux([*audio.encode(frame), *audio.encode(None)])
    path.with_suffix(".txt").write_text("noise")
    folder = written(tmp_path / "weights", "wav2vec2")
    values = {"kind": "wav2vec2", "channels": 32, "weights": str(folder)}
    codecs = {"video": {"kind": "linear_video", "channels": 8}, "sound": values, "text": TEXT}
    section = {**AUDIO, "modalities": ["video", "audio"], "without": ["reference"]}
    made = recipe(system="mirage", codecs=codecs, sets={"all": section})
    prepare(made, tmp_path / "root", systems=SYSTEMS, recipe_folder=tmp_path, progress=False)
    stored = opened(tmp_path).read(0).streams["sound"].values
    config = Wav2Vec2Config(channels=32, weights=str(folder))
    encoder = load_codecs({"sound": config}, None).audio["sound"]
    heard = torch.from_numpy(sound[round(0.03 * rate) :])
    expected = features(encoder, config, heard, window=range(25, 25 + stored.shape[1]))
    torch.testing.assert_close(stored, expected, atol=1e-4, rtol=1e-4)


def test_sound_of_two_channels_and_another_rate_is_converted_and_counted(
    run: Callable[..., Report], tmp_path: Path
) -> None:
    time = torch.arange(3 * 48000) / 48000
    hum = 0.3 * torch.sin(2 * torch.pi * 440 * time)
    wav(tmp_path / "media" / "a.wav", hum, 0.5 * hum, rate=48000)
    wav(tmp_path / "media" / "b.wav", 0.75 * hum[::3])
    report = run(LOG_MEL)
    assert report.sets["all"].treated == {"with mixed channels": 1, "with sound of another rate": 1}
    assert "1 with mixed channels, 1 with sound of another rate" in report.lines()[0]
    shards = opened(tmp_path)
    one, two = (shards.read(i).streams["sound"].values for i in range(2))
    torch.testing.assert_close(one, two, atol=0.05, rtol=0.05)


def test_sound_shorter_than_a_step_is_quarantined(run: Callable[..., Report], tmp_path: Path) -> None:
    hum = 0.3 * torch.sin(0.2 * torch.arange(40000))
    wav(tmp_path / "media" / "short.wav", hum[:500])
    wav(tmp_path / "media" / "step.wav", hum[:640])
    wav(tmp_path / "media" / "mute.wav", 0 * hum)
    report = run(LOG_MEL).sets["all"]
    found = {entry.id: f"{entry.reason}: {entry.detail}" for entry in report.quarantined}
    assert report.kept == 1
    assert found["short.wav"] == "too short: its sound has 500 samples, and a step of its features is made of 640"
    assert found["mute.wav"].startswith("silent: its RMS over 2.08 s")
    assert opened(tmp_path).read(0).streams["sound"].valid == 1


@pytest.mark.parametrize("lufs", [None, -30.0])
def test_the_window_lies_in_what_is_around_it(
    recipe: Callable[..., PrepareConfig], tmp_path: Path, lufs: float | None
) -> None:
    """With its gain, too."""
    path = wav(tmp_path / "media" / "a.wav", 0.3 * torch.sin(0.2 * torch.arange(80000)))
    codecs = {"sound": {"kind": "wav2vec2"}, "text": TEXT}
    made = plan(recipe(system="mirage", codecs=codecs, sets={"all": {**AUDIO, "lufs": lufs}}, fit_sets=[]), SYSTEMS)
    sound = read_clip(Item(id="a", media=path, caption="x"), made["all"], Reader()).sound
    assert sound is not None
    around = sound.around["sound"]
    assert (around.first, len(around.samples), len(sound.samples)) == (0, 80000, 33333)
    torch.testing.assert_close(around.samples[:33333], sound.samples, atol=1e-6, rtol=0)
    assert (sound.samples.abs().max() > 0.2) == (lufs is None)
