"""What is measured of a model that is given tracks of a sound: with those of other clips, and without some."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from talkies.codecs import linear_video
from talkies.codecs.config import LinearVideoConfig, WaveformConfig
from talkies.codecs.linear_video import LinearVideoCodec
from talkies.codecs.waveform import WaveformCodec
from talkies.flow.config import SamplingConfig
from talkies.generate.model import Generator
from talkies.recipe import gates
from talkies.runs.condition_arms import Clips, clips_of, made, tracks_of
from talkies.runs.condition_metrics import ablation, ablation_table, condition_metrics
from talkies.streams.batch import Batch, Condition, Stream
from talkies.streams.codec import Codecs, Media, VideoCodec
from talkies.streams.system import Parts, Rung, Stored
from talkies.world.config import SyntheticSource
from talkies.world.events import follows, music_kind
from talkies.world.faces import animate, paint_face
from talkies.world.render import SAMPLE_RATE, Scene, draw_scene
from talkies.world.scenes import LEVELS, LIGHTS, lit, with_lamp
from talkies.world.sync import loudness_envelope

TRACKS = ("speech", "effects", "music")
COUNT, FRAMES, FPS = 12, 25, 12.5
SECTIONS = {"video": LinearVideoConfig(), "sound": WaveformConfig(hop=1280)}
SAMPLING = SamplingConfig(steps=2)
SOURCE = SyntheticSource(domain="scenes", clips=COUNT, seed=1)


class TrackSystem:
    """A video for tracks of a sound."""

    def parts(self, setup: Any) -> Parts:
        beside = frozenset({"audio"})
        return Parts(components=frozenset(), targets={"video": 1.0}, conditions=frozenset(TRACKS), beside=beside)

    def stored(self, codecs: Mapping[str, Any]) -> dict[str, Stored]:
        return {"video": Stored(codec="video")} | {name: Stored(codec="sound") for name in (*TRACKS, "audio")}

    def texts(self, codecs: Mapping[str, Any]) -> dict[str, str]:
        return {}

    def ladder(self, setup: Any) -> tuple[Rung, ...]:
        return (Rung(without=frozenset()),)

    def inactive(self, setup: Any, levels: Mapping[str, float]) -> frozenset[str]:
        return frozenset()

    def network(self) -> "TrackSystem":
        return self

    def inputs(self, setup: Any, streams: Mapping[str, Stream]) -> dict[str, Stream]:
        return dict(streams)


@dataclass(frozen=True, kw_only=True)
class Painter:
    """A network that knows the world: it paints what follows the tracks that it is given. Those in `deaf_to` it
    takes for silence; if `muddled`, the lamp follows the speech, too."""

    codec: VideoCodec
    deaf_to: frozenset[str] = frozenset()
    muddled: bool = False

    def __call__(self, streams: Mapping[str, Stream], condition: Condition) -> dict[str, Tensor]:
        noisy = streams["video"]
        heard = {t: streams[t].latent.transpose(1, 2).flatten(1) for t in TRACKS if t in streams}
        silence = torch.zeros(len(noisy.latent), 2 * SAMPLE_RATE)
        tracks = {track: silence if track in self.deaf_to else heard.get(track, silence) for track in TRACKS}
        films = [self.painted({track: sound[i] for track, sound in tracks.items()}) for i in range(len(silence))]
        clean = self.codec.encode(torch.stack(films))
        return {"video": (noisy.latent - clean) / noisy.time[:, None, None, None, None]}

    def painted(self, tracks: Mapping[str, Tensor]) -> Tensor:
        """Frames [F, 3, 32, 32] in [-1, 1]."""
        loudness = {
            track: (2 * loudness_envelope(sound, SAMPLE_RATE, FPS, FRAMES) / LEVELS[track]).clamp(max=1).numpy()
            for track, sound in tracks.items()
        }
        light = [*LIGHTS.values()][music_kind(tracks["music"], SAMPLE_RATE)]
        film = animate(lit(paint_face("man", "red", "calm", 0, 32), light), loudness["speech"])
        film = with_lamp(film, loudness["speech" if self.muddled else "effects"])
        return torch.from_numpy(film).float().permute(0, 3, 1, 2) * 2 - 1


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(SOURCE, index, seed=0) for index in range(COUNT)]


@pytest.fixture(scope="module")
def codec(scenes: list[Scene]) -> LinearVideoCodec:
    films = [scene.media.frames for scene in scenes if scene.media.frames is not None]
    return linear_video.fit(SECTIONS["video"], films, seed=0)


def model_of(codec: LinearVideoCodec, **how: Any) -> Generator:
    sound = WaveformCodec(SECTIONS["sound"])
    grids = {"video": codec.grid(FRAMES, 32, 32, FPS)} | dict.fromkeys(TRACKS, sound.grid(2 * SAMPLE_RATE))
    return Generator(
        denoiser=Painter(codec=codec, **how),
        codecs=Codecs(video={"video": codec}, audio={"sound": sound}),
        system=TrackSystem(),
        setup=SimpleNamespace(codecs=SECTIONS),
        grids=grids,
        fps=FPS,
    )


def clips_for(model: Generator, scenes: Sequence[Scene], real: Sequence[Media]) -> Clips:
    """The clips of these scenes as an evaluation has them, and what the model makes of them."""
    sound = model.codecs.audio["sound"]
    time = torch.zeros(len(scenes))
    streams = {
        track: Stream(
            latent=sound.encode(torch.stack([scene.tracks[track] for scene in scenes])),
            time=time,
            grid=model.grids[track],
        )
        for track in TRACKS
    }
    ids = tuple(f"clip-{index}" for index in range(len(scenes)))
    batch = Batch(ids=ids, visits=(0,) * len(ids), streams=streams, captions={}, texts={}, null_texts={})
    clips = clips_of(model, [batch], [], [*real])
    del clips.films[frozenset(), frozenset()]
    return clips


def measured(model: Generator, scenes: Sequence[Scene], tracks: Sequence[str] = TRACKS) -> dict[str, float]:
    clips = clips_for(model, scenes, [scene.media for scene in scenes])
    return condition_metrics(model, clips, tracks, SAMPLING, seed=0)


def test_each_track_decides_what_follows_it_and_nothing_else(codec: LinearVideoCodec, scenes: list[Scene]) -> None:
    found = measured(model_of(codec), scenes)
    parts = ("", "_swapped", "_original", "_reference")
    assert found.keys() == {
        *(f"{name}{part}" for name in ("speech/sync", "effects/sync", "music/mood") for part in parts),
        *(f"{track}/others" for track in TRACKS),
        "music/mood_chance",
    }
    for name in ("speech/sync", "effects/sync", "music/mood"):
        assert min(found[name], found[f"{name}_swapped"], found[f"{name}_reference"]) > 0.9
        assert found[f"{name}_original"] < 0.5
    assert max(found[f"{track}/others"] for track in TRACKS) <= 0.05


def test_gates_may_ask_for_all_that_is_measured(codec: LinearVideoCodec, scenes: list[Scene]) -> None:
    recipe: Any = SimpleNamespace(
        system=TrackSystem(),
        codecs=SECTIONS,
        validation=SimpleNamespace(bins=4),
        parallel=SimpleNamespace(ranks=1),
        data=SimpleNamespace(geometry=f"32x32x{FRAMES}@{FPS}"),
    )
    known = {name for name in gates.measured(recipe) if name.removeprefix("evaluation/").split("/")[0] in TRACKS}
    assert known == {f"evaluation/{key}" for key in measured(model_of(codec), scenes)}


def test_a_track_that_is_not_heard_is_found(codec: LinearVideoCodec, scenes: list[Scene]) -> None:
    found = measured(model_of(codec, deaf_to=frozenset({"effects"})), scenes)
    assert found["effects/sync"] == found["effects/sync_swapped"] == found["effects/sync_original"] == 0
    assert found["speech/sync_swapped"] > 0.9


def test_a_track_that_decides_something_else_is_found(codec: LinearVideoCodec, scenes: list[Scene]) -> None:
    found = measured(model_of(codec, muddled=True), scenes)
    assert found["speech/others"] > 0.05 >= found["music/others"]


def test_only_the_tracks_that_are_conditions_are_exchanged(codec: LinearVideoCodec, scenes: list[Scene]) -> None:
    assert tracks_of(model_of(codec)) == TRACKS
    found = measured(model_of(codec), scenes, ["speech"])
    assert {key.split("/")[0] for key in found} == {"speech"}
    assert "speech/others" not in found, "nothing else is known to be told"


def test_a_film_is_heard_with_the_tracks_that_it_was_made_for(codec: LinearVideoCodec, scenes: list[Scene]) -> None:
    model, real = model_of(codec), [scene.media for scene in scenes]
    clips = clips_for(model, scenes, real)
    assert clips.scenes
    films = made(model, clips, SAMPLING, seed=0, swapped={"speech"})
    for number, film in enumerate(films):
        own, other = scenes[number], scenes[(number + 1) % COUNT]
        mix = other.tracks["speech"] + own.tracks["effects"] + own.tracks["music"]
        assert film.samples is not None
        assert (film.samples - mix).square().mean() < 0.02 * mix.square().mean()
        assert (follows(film, "speech") or 0) > 0.9
    assert all(
        film.samples is clip.samples for film, clip in zip(made(model, clips, SAMPLING, seed=0), real, strict=True)
    )


def test_an_ablation_measures_every_subset_of_the_tracks(codec: LinearVideoCodec, scenes: list[Scene]) -> None:
    model = model_of(codec)
    clips = clips_for(model, scenes, [scene.media for scene in scenes])
    found = ablation(model, clips, ["speech", "music"], SAMPLING, seed=0)
    labels = {"none", "speech", "music", "speech-music", "other-speech", "other-music", "other-speech-music"}
    assert {key.split("/")[1] for key in found} == labels
    assert not any(key.endswith("/sync") for key in found), "the whole sound says little"
    assert found["ablation/speech-music/speech_sync"] > 0.9 > found["ablation/music/speech_sync"]
    assert found["ablation/speech/music_mood"] < 0.5 < found["ablation/music/music_mood"]
    assert found["ablation/other-speech/speech_sync"] > 0.9
    assert found["ablation/other-speech/speech_sync_original"] < 0.5
    assert "ablation/other-speech/music_mood_original" not in found
    assert (
        found["ablation/other-speech-music/music_mood"] == 1 > found["ablation/other-speech-music/music_mood_original"]
    )
    (head, *rows) = ablation_table(found)
    assert {"speech_sync", "music_mood", "speech_sync_original"} <= {*head.split()}
    assert len(rows) == len(labels)


def test_tracks_of_other_clips_than_scenes_are_not_measured(codec: LinearVideoCodec, scenes: list[Scene]) -> None:
    model = model_of(codec)
    faces = [draw_scene(replace(SOURCE, domain="faces"), index, seed=0).media for index in range(COUNT)]
    clips = clips_for(model, scenes, faces)
    assert not clips.scenes
    assert condition_metrics(model, clips, TRACKS, SAMPLING, seed=0) == {}
    found = made(model, clips, SAMPLING, seed=0, swapped={"speech"})
    assert all(film.samples is clip.samples for film, clip in zip(found, faces, strict=True)), "nothing parts them"
