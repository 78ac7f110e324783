"""A world's scenes and a model that hears their tracks, for tests of what each track decides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from talkies.codecs import linear_video
from talkies.codecs.config import LinearVideoConfig, WaveformConfig
from talkies.codecs.linear_video import LinearVideoCodec
from talkies.codecs.waveform import WaveformCodec
from talkies.flow.config import SamplingConfig
from talkies.generate.model import Generator
from talkies.runs.condition_arms import Clips, clips_of
from talkies.streams.batch import Batch, Condition, Stream
from talkies.streams.captions import WHOLE
from talkies.streams.codec import Codecs, Media, VideoCodec
from talkies.streams.system import Parts, Rung, Stored
from talkies.world.config import SyntheticSource
from talkies.world.events import music_kind
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

    captions = WHOLE

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


def drawn() -> list[Scene]:
    """COUNT scenes."""
    return [draw_scene(SOURCE, index, seed=0) for index in range(COUNT)]


def fitted(scenes: Sequence[Scene]) -> LinearVideoCodec:
    """The video codec of scenes."""
    films = [scene.media.frames for scene in scenes if scene.media.frames is not None]
    return linear_video.fit(SECTIONS["video"], films)
