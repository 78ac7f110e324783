"""Do the lips of the cascade's films follow the voices that were made?

    python benchmarks/cascade.py AUDIO VIDEO [--speakers 32]

AUDIO and VIDEO: runs or releases of Mirage audio and of Mirage video, of the toys. New speakers of the synthetic world
say new scripts: the audio model makes the sound from the caption and another recording of the speaker, the video model
the film for that sound. `sync`: of the film with the voice that was made; `other`: with that of the next speaker, which
is chance; `real`: of rendered clips. `pitch`, `script` and `setting`: shares as of an evaluation.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from torch import Tensor

from talkies.evaluation.voices import heard, lines_of, voice_shares
from talkies.generate.clip import generate
from talkies.generate.request import Request
from talkies.models.systems import SYSTEMS
from talkies.runs.condition_arms import heard_with, next_of
from talkies.runs.opened import Source
from talkies.runs.source import open_source
from talkies.streams.codec import Media
from talkies.world.config import SyntheticSource
from talkies.world.render import Scene, draw_scene
from talkies.world.sync import sync

NEW = 9
"""The seed of a source of speakers that no recipe trains on."""


def scenes(count: int) -> list[Scene]:
    """New speakers, each in two shots of 2 s."""
    source = SyntheticSource(domain="scripts", clips=count, frames=50, shot=25, seed=NEW)
    return [draw_scene(source, index, 0) for index in range(count)]


def halves(scene: Scene) -> tuple[Media, Media]:
    """The shot that the caption names, and the other one."""
    media = scene.media
    assert media.samples is not None
    assert media.frames is not None
    frames, samples = len(media.frames) // 2, len(media.samples) // 2
    return (
        replace(media, frames=media.frames[:frames], samples=media.samples[:samples]),
        replace(media, frames=media.frames[frames:], samples=media.samples[samples:]),
    )


def voices_of(source: Source, found: Sequence[Scene]) -> list[Media]:
    """What is said of each caption, in the voice of the scene's other shot."""
    model = source.generator()
    reference = next(name for name in model.grids if name not in model.targets)
    requests = [
        Request(
            prompts={name: model.system.captions.written(name, scene.caption) for name in model.text_codecs},
            id=f"speaker-{index}",
            given={reference: _samples(halves(scene)[1])},
        )
        for index, scene in enumerate(found)
    ]
    return generate(model, requests, source.recipe.sampling, seed=0)


def films_of(source: Source, sounds: Sequence[Media]) -> list[Media]:
    """The film for each sound, heard with it."""
    model = source.generator()
    assert model.listens is not None, "the video model listens"
    requests = [
        Request(
            prompts=dict.fromkeys(model.text_codecs, ""), id=f"film-{index}", given={model.listens: _samples(sound)}
        )
        for index, sound in enumerate(sounds)
    ]
    return heard_with(generate(model, requests, source.recipe.sampling, seed=0), sounds)


def _samples(media: Media) -> Tensor:
    assert media.samples is not None
    return media.samples


def measured(audio: Source, video: Source, count: int) -> dict[str, float]:
    """The metrics of the cascade over new speakers."""
    found = scenes(count)
    sounds = voices_of(audio, found)
    films, own = films_of(video, sounds), [halves(scene) for scene in found]
    lines = lines_of([scene.caption for scene in found])
    assert lines is not None
    told = voice_shares([heard(sound) for sound in sounds], lines, [heard(other) for _, other in own])
    return {
        "sync": fmean(sync(film).correlation for film in films),
        "other": fmean(sync(film).correlation for film in heard_with(films, next_of(sounds))),
        "real": fmean(sync(clip).correlation for clip, _ in own),
        **{name: told[name] for name in ("pitch", "script", "setting")},
    }


def main() -> None:
    """Print the metrics."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("audio", type=Path)
    parser.add_argument("video", type=Path)
    parser.add_argument("--speakers", type=int, default=32)
    args = parser.parse_args()

    def opened(path: Path) -> Source:
        return open_source(str(path), Path, systems=SYSTEMS)

    for name, value in measured(opened(args.audio), opened(args.video), args.speakers).items():
        print(f"{name:8}{value:.3f}")


if __name__ == "__main__":
    main()
