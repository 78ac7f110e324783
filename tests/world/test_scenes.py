"""The world's scenes: each track is followed by one thing that is seen, and by nothing else."""

import re
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from talkies.codecs import linear_video
from talkies.codecs.config import LinearVideoConfig
from talkies.config import RecipeError
from talkies.media.frames import read_frames
from talkies.media.sound import read_audio
from talkies.streams.codec import Media
from talkies.world.bands import BANDS, split
from talkies.world.config import SyntheticSource, check_source
from talkies.world.events import (
    follows,
    has_events,
    lamp,
    light_kind,
    mood,
    music_kind,
    remixed,
    seen,
    spoken,
    squares,
    wall_kind,
)
from talkies.world.faces import WALLS, Box
from talkies.world.render import SAMPLE_RATE, Scene, draw_scene, render_source
from talkies.world.scenes import LAMP, LIGHT, LIGHTS, NOTES, QUIET, named_wall
from talkies.world.sync import correlation, loudness_envelope, mouth_opening, sync

ONE = SyntheticSource(domain="scenes", clips=64)
TWO = replace(ONE, people=2)
TOY = LinearVideoConfig(channels=16, motion=6, stride=4)
FOLLOWED = ("speech", "effects", "speech2")
FPS, FRAMES = 12.5, 25


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(TWO, index, seed=0) for index in range(TWO.clips)]


@pytest.fixture(scope="module")
def media(scenes: list[Scene]) -> list[Media]:
    return [scene.media for scene in scenes]


def film(clip: Media) -> Tensor:
    assert clip.frames is not None
    return clip.frames


def sound(clip: Media) -> Tensor:
    assert clip.samples is not None
    return clip.samples


def turned(clips: list[Media], tracks: tuple[str, ...]) -> list[Media]:
    """The clips with these tracks of the next one."""
    return [remixed(own, other, tracks) for own, other in zip(clips, clips[1:] + clips[:1], strict=True)]


def scores(clips: list[Media], track: str) -> list[float]:
    return [score for clip in clips if (score := follows(clip, track)) is not None]


@pytest.mark.parametrize("people", [1, 2])
def test_a_scene_has_its_people_and_its_tracks(people: int) -> None:
    scene = draw_scene(replace(ONE, people=people), 0, seed=0)
    assert film(scene.media).shape == (FRAMES, 3, 32, people * 32)
    assert film(scene.media).abs().max() <= 1
    assert len(squares(film(scene.media))) == people
    tracks = {"speech", "effects", "music"} | ({"speech2"} if people == 2 else set())
    assert scene.tracks.keys() == tracks
    assert sum(scene.tracks.values(), torch.zeros(2 * SAMPLE_RATE)).numpy() == pytest.approx(
        sound(scene.media).numpy(), abs=1e-6
    )


def test_captions_name_people_and_wall_and_neither_time_nor_sound(scenes: list[Scene]) -> None:
    look = r"an? (?:happy|angry|sad|calm) (?:woman|man|boy|girl)\."
    wall = r"Scene Description: a \w+ wall\."
    for scene in scenes:
        assert re.fullmatch(
            rf"2 person conversation\. Persons: Person1: {look} Person2: {look} {wall}", scene.caption
        ), scene.caption
        assert named_wall(scene.caption) == wall_kind(film(scene.media))
    alone = draw_scene(ONE, 0, seed=0).caption
    assert re.fullmatch(rf"1 person conversation\. Persons: Person1: {look} {wall}", alone)
    assert named_wall("A happy woman by a red wall talks in a low voice.") is None


def test_who_is_alone_is_the_first_of_two_and_sounds_the_same() -> None:
    for index in range(4):
        alone, both = draw_scene(ONE, index, seed=0), draw_scene(TWO, index, seed=0)
        assert torch.equal(film(alone.media), film(both.media)[..., :32])
        assert all(torch.equal(samples, both.tracks[track]) for track, samples in alone.tracks.items())


def test_what_is_seen_follows_its_own_track_alone(media: list[Media]) -> None:
    for track in FOLLOWED:
        others = tuple(other for other in BANDS if other != track)
        assert min(scores(media, track)) > 0.98
        assert min(scores(turned(media, others), track)) > 0.98
        given = turned(media, (track,))
        assert abs(np.mean(scores(given, track))) < 0.15, "the mean of pairs that have nothing to do with each other"
    assert all(map(mood, media))
    assert all(map(mood, turned(media, ("speech", "effects", "speech2"))))
    assert np.mean([*map(mood, turned(media, ("music",)))]) < 0.4


def test_tracks_are_independent_of_each_other_and_of_what_the_caption_names(scenes: list[Scene]) -> None:
    """Also of a clip's other tracks: nothing but the own one tells when a mouth opens or a lamp flashes."""
    for one, other in combinations(FOLLOWED, 2):
        pairs = [(seen(scene.media, one), seen(scene.media, other)) for scene in scenes]
        found = [correlation(a, b) for a, b in pairs if a is not None and b is not None]
        assert abs(np.mean(found)) < 4 * np.std(found) / len(found) ** 0.5
    more = [draw_scene(replace(ONE, size=16, frames=4, seed=2), index, seed=0) for index in range(240)]
    lights = np.array([light_kind(film(scene.media)) for scene in more])
    walls = np.array([[*WALLS].index(named_wall(scene.caption) or "") for scene in more])
    quiet = np.array([not scene.tracks["effects"].any() for scene in more])
    for told, telling in ((lights, walls), (lights, quiet), (walls, quiet)):
        table = np.array([[np.mean((told == a) & (telling == b)) for b in set(telling)] for a in set(told)])
        expected = table.sum(1, keepdims=True) * table.sum(0)
        assert np.abs(table - expected).max() < 4 * np.sqrt(expected.max() / len(more))
    assert quiet.mean() == pytest.approx(QUIET, abs=4 * (QUIET * (1 - QUIET) / len(more)) ** 0.5)


def test_every_scene_begins_silent_and_dark_and_effects_come_at_any_time(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.openings[0] < 0.02
        assert lamp(film(scene.media))[0] < lamp(film(scene.media)).min() + 0.02
        assert has_events(scene.media) == bool(scene.tracks["effects"].any())
        if has_events(scene.media):
            assert lamp(film(scene.media)).max() > 0.5
    flashes = torch.stack([lamp(film(scene.media)) for scene in scenes]).mean(0)[2:]
    assert flashes.std() < 0.25 * flashes.mean(), "no frame is more likely to be bright"


def blocks(*boxes: Box) -> set[tuple[int, int]]:
    """The 8 x 8 blocks of a 32-pixel frame in which boxes lie."""
    found = set()
    for left, top, right, bottom in boxes:
        columns, rows = range(int(left // 8), -int(-right // 8)), range(int(top // 8), -int(-bottom // 8))
        found |= {(row, column) for row in rows for column in columns}
    return found


def test_mouths_lamp_and_light_lie_in_blocks_of_their_own(scenes: list[Scene]) -> None:
    moving = torch.stack([film(scene.media).std(0).amax(0) for scene in scenes]).amax(0) > 1e-6
    moves = {(int(y) // 8, int(x) // 8) for y, x in moving.nonzero()}
    assert blocks(LAMP) == {(0, 0)}
    assert moves == {(0, 0), (2, 1), (2, 2), (2, 5), (2, 6)}
    assert not moves & {(row, column + side) for row, column in blocks(LIGHT) for side in (0, 4)}


def test_a_scene_is_a_function_of_seed_source_and_index() -> None:
    one, again, other = draw_scene(TWO, 5, seed=1), draw_scene(TWO, 5, seed=1), draw_scene(TWO, 6, seed=1)
    assert torch.equal(film(one.media), film(again.media))
    assert torch.equal(sound(one.media), sound(again.media))
    assert one.caption == again.caption
    for different in (other, draw_scene(TWO, 5, seed=2), draw_scene(replace(TWO, seed=9), 5, seed=1)):
        assert not torch.equal(one.openings, different.openings)
        assert not torch.equal(one.tracks["music"], different.tracks["music"])
    large = draw_scene(replace(TWO, size=64), 5, seed=1)
    assert torch.equal(sound(one.media), sound(large.media))
    halved = torch.nn.functional.avg_pool2d(film(large.media), 2)
    assert (halved - film(one.media)).abs().mean() < 0.02


def test_bands_part_the_tracks(scenes: list[Scene]) -> None:
    assert all(high < low for (_, high), (low, _) in pairwise(sorted(BANDS.values())))
    for scene in scenes[:16]:
        for track, found in split(sound(scene.media), SAMPLE_RATE).items():
            drawn = scene.tracks[track].double()
            assert (found - drawn).square().sum() < 0.04 * drawn.square().sum() + 1e-3, track


@pytest.mark.parametrize("rate", [16000, 44100])
def test_measures_depend_on_neither_level_nor_rate(scenes: list[Scene], rate: int) -> None:
    clock = torch.arange(2 * rate) / rate
    for colour, note in NOTES.items():
        assert music_kind(0.01 * torch.sin(2 * torch.pi * note * clock), rate) == [*LIGHTS].index(colour)
    for scene in scenes[:8]:
        quiet = replace(scene.media, samples=0.1 * sound(scene.media))
        assert mood(quiet)
        assert has_events(quiet) == has_events(scene.media)
        assert follows(quiet, "speech") == pytest.approx(follows(scene.media, "speech"), abs=0.01)


def test_what_is_not_there_is_not_measured(scenes: list[Scene]) -> None:
    alone = draw_scene(ONE, 0, seed=0).media
    assert follows(alone, "speech2") is None
    quiet = next(scene.media for scene in scenes if not scene.tracks["effects"].any())
    assert follows(quiet, "effects") is None
    silent = replace(alone, samples=torch.zeros(2 * SAMPLE_RATE))
    assert not has_events(silent)
    assert follows(silent, "speech") == 0
    still = replace(alone, frames=film(alone)[:1].expand(FRAMES, -1, -1, -1))
    assert follows(still, "speech") == 0


def test_sync_takes_the_speech_alone(media: list[Media]) -> None:
    whole = [sync(replace(clip, frames=squares(film(clip))[0])).correlation for clip in media]
    assert np.mean(whole) < 0.9, "the other tracks are loud, too"
    assert min(sync(spoken(clip)).correlation for clip in media) > 0.98


def test_rendered_files_keep_all_that_is_measured_through_the_toys_codec(media: list[Media], tmp_path: Path) -> None:
    source = replace(TWO, clips=24)
    clips = []
    for path in render_source(source, tmp_path, seed=0):
        frames = read_frames(path, frames=FRAMES, fps=FPS, height=32, width=64).float() / 127.5 - 1
        samples = read_audio(path, sample_rate=SAMPLE_RATE, seconds=2.0)
        clips.append(Media(frames=frames, fps=FPS, samples=samples, sample_rate=SAMPLE_RATE))
    codec = linear_video.fit(TOY, [film(clip) for clip in media])
    backs = [replace(clip, frames=codec.decode(codec.encode(film(clip)[None]))[0]) for clip in clips]
    assert [*map(has_events, clips)] == [*map(has_events, media[:24])]
    for kind in (clips, backs):
        assert all(map(mood, kind))
        for track in FOLLOWED:
            assert np.mean(scores(kind, track)) >= 0.95
    assert all(wall_kind(film(back)) == wall_kind(film(clip)) for back, clip in zip(backs, clips, strict=True))
    assert min(scores(clips, "speech")) > 0.95


def test_stems_lie_beside_the_files_and_add_up(tmp_path: Path) -> None:
    source = replace(TWO, clips=2, stems=True)
    for index, path in enumerate(render_source(source, tmp_path, seed=3)):
        assert {file.name for file in tmp_path.glob(f"{path.stem}.*")} == {
            *(path.name, path.with_suffix(".txt").name, path.with_suffix(".json").name),
            *(f"{path.stem}.{track}.wav" for track in BANDS),
        }
        scene = draw_scene(source, index, seed=3)
        assert scene.tracks.keys() == {*source.tracks}
        stems = {t: read_audio(path.with_suffix(f".{t}.wav"), sample_rate=SAMPLE_RATE, seconds=2.0) for t in BANDS}
        for track, samples in stems.items():
            assert samples.numpy() == pytest.approx(scene.tracks[track].numpy(), abs=1e-6)
        heard = read_audio(path, sample_rate=SAMPLE_RATE, seconds=2.0)
        mix = sum(stems.values(), torch.zeros(len(heard)))
        assert (heard - mix).square().sum() < 1e-3 * mix.square().sum()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"domain": "faces", "people": 2}, "of faces has no `people`, found 2: remove it, or set `domain` to scenes"),
        ({"domain": "speakers", "stems": True}, "of speakers has no `stems`, found true"),
        ({"speakers": 4}, "of scenes has no `speakers` and no `shot`"),
        ({"shot": 5}, "of scenes has no `speakers` and no `shot`"),
        ({"frames": 1}, "cannot be drawn"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        check_source(replace(ONE, **changes))


def test_the_second_mouth_follows_the_second_voice(media: list[Media]) -> None:
    for clip in media[:16]:
        first, second = (mouth_opening(square) for square in squares(film(clip)))
        parts = split(sound(clip), SAMPLE_RATE)
        one, two = (loudness_envelope(parts[track], SAMPLE_RATE, FPS, FRAMES) for track in ("speech", "speech2"))
        assert min(correlation(first, one), correlation(second, two)) > 0.98
    crossed = [correlation(mouth_opening(squares(film(clip))[1]), seen(clip, "speech")) for clip in media]
    assert abs(np.mean(crossed)) < 0.15
