"""The synthetic world: properties of its clips, files and timing."""

import hashlib
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from talkies.config import RecipeError, StorageError
from talkies.media.frames import read_frames
from talkies.media.sound import read_audio
from talkies.media.write import PROVENANCE, read_tags
from talkies.streams.codec import Media
from talkies.world.config import SyntheticSource
from talkies.world.render import SAMPLE_RATE, Scene, draw_scene, render_source
from talkies.world.sync import loudness_envelope, shuffled, sync

FACES = SyntheticSource(clips=2, fps=12.5)
MASKS = SyntheticSource(domain="masks", clips=2, fps=12.5)
SPEAKERS = SyntheticSource(domain="speakers", clips=2, fps=12.5)
ALL = pytest.mark.parametrize("source", [FACES, MASKS, SPEAKERS], ids=lambda s: s.domain)
LOUDEST = {"faces": 0.5, "masks": 0.5, "speakers": 0.54}
"""That of a voice, and of the noise behind it."""


def scenes(source: SyntheticSource, count: int) -> list[Scene]:
    return [draw_scene(source, index, seed=0) for index in range(count)]


def film(scene: Scene) -> torch.Tensor:
    assert scene.media.frames is not None
    return scene.media.frames


@ALL
def test_a_clip_has_the_frames_and_the_sound_of_its_source(source: SyntheticSource) -> None:
    media = draw_scene(source, 0, seed=0).media
    assert film(draw_scene(source, 0, seed=0)).shape == (25, 3, 32, 32)
    assert media.samples is not None
    assert media.samples.shape == (2 * SAMPLE_RATE,)
    assert media.samples.abs().max() <= LOUDEST[source.domain]
    assert media.frames is not None
    assert media.frames.abs().max() <= 1


@ALL
def test_the_mouth_is_closed_in_the_first_frame_and_opens_later(source: SyntheticSource) -> None:
    for scene in scenes(source, 16):
        assert scene.openings[0] < 0.02
        assert scene.openings.max() > 0.2
        assert (film(scene)[0] - film(scene)[scene.openings.argmax()]).abs().max() > 0.5


@ALL
def test_nothing_but_the_mouth_moves(source: SyntheticSource) -> None:
    moves = film(draw_scene(source, 3, seed=0)).std(0).amax(0) > 1e-6
    rows, columns = moves.nonzero(as_tuple=True)
    assert rows.min() >= 16
    assert rows.max() < 24
    assert columns.min() >= 10
    assert columns.max() < 22


@ALL
def test_the_opening_is_the_loudness_of_the_sound(source: SyntheticSource) -> None:
    for scene in scenes(source, 8):
        assert scene.media.samples is not None
        loudness = loudness_envelope(scene.media.samples, SAMPLE_RATE, 12.5, 25)
        ratio = loudness.float() / loudness.max() - scene.openings / scene.openings.max()
        assert ratio.abs().max() < 0.12


def test_captions_name_the_cast_and_the_timing_is_independent_of_them() -> None:
    drawn = scenes(FACES, 100)
    captions = [scene.caption for scene in drawn]
    assert len(set(captions)) > 70
    assert not set(" ".join(captions).split()) & set(" ".join(s.caption for s in scenes(MASKS, 50)).split()) - {
        "happy", "sad", "angry", "calm", "a",
    }  # fmt: skip
    # Clips that share a word have no more timing in common than others.
    openings = torch.stack([scene.openings for scene in drawn])
    openings = openings - openings.mean(0)
    for word in ("girl", "red", "high", "happy"):
        named = torch.tensor([word in caption.split() for caption in captions])
        difference = openings[named].mean(0) - openings[~named].mean(0)
        assert difference.abs().max() < 4 * openings.std() * (1 / named.sum() + 1 / (~named).sum()) ** 0.5


@ALL
def test_real_pairs_agree_and_shuffled_ones_do_not(source: SyntheticSource) -> None:
    media = [scene.media for scene in scenes(source, 48)]
    assert sum(sync(clip).correlation for clip in media) / len(media) >= 0.98
    assert abs(shuffled(media)) <= 0.1


@ALL
def test_a_clip_is_a_function_of_seed_source_and_index(source: SyntheticSource) -> None:
    one, again, other = draw_scene(source, 5, seed=1), draw_scene(source, 5, seed=1), draw_scene(source, 6, seed=1)
    assert torch.equal(film(one), film(again))
    assert one.caption == again.caption
    assert not torch.equal(one.openings, other.openings)
    assert not torch.equal(one.openings, draw_scene(source, 5, seed=2).openings)
    assert not torch.equal(one.openings, draw_scene(replace(source, seed=9), 5, seed=1).openings)


@ALL
def test_twice_the_size_shows_the_same_scene(source: SyntheticSource) -> None:
    small, large = draw_scene(source, 4, seed=0), draw_scene(replace(source, size=64), 4, seed=0)
    assert small.caption == large.caption
    assert small.media.samples is not None
    assert large.media.samples is not None
    assert torch.equal(small.media.samples, large.media.samples)
    halved = torch.nn.functional.avg_pool2d(film(large), 2)
    assert (halved - film(small)).abs().mean() < 0.02


def test_the_domains_look_and_sound_different() -> None:
    def spectrum(source: SyntheticSource) -> torch.Tensor:
        sounds = torch.stack([s.media.samples for s in scenes(source, 16) if s.media.samples is not None])
        power = torch.fft.rfft(sounds).abs().square().mean(0)[:8000].view(80, 100).sum(-1)
        return power / power.sum()

    faces, masks = (torch.stack([film(s)[0] for s in scenes(source, 16)]).mean(0) for source in (FACES, MASKS))
    assert (faces - masks).abs().mean() > 0.3
    assert (spectrum(FACES) - spectrum(MASKS)).abs().sum() > 0.3


@ALL
def test_rendered_files_read_back_in_sync(source: SyntheticSource, tmp_path: Path) -> None:
    done: list[int] = []
    paths = render_source(replace(source, clips=4), tmp_path / "world", seed=0, progress=done.append)
    assert done == [1, 2, 3, 4]
    assert {path for path in (tmp_path / "world").rglob("*") if path.is_file()} == {
        file for path in paths for file in (path, path.with_suffix(".txt"))
    }
    for index, path in enumerate(paths):
        frames = read_frames(path, frames=25, fps=12.5, height=32, width=32).float() / 127.5 - 1
        samples = read_audio(path, sample_rate=SAMPLE_RATE, seconds=2.0)
        score = sync(Media(frames=frames, fps=12.5, samples=samples, sample_rate=SAMPLE_RATE))
        assert score.correlation >= 0.95
        assert score.lag_ms == pytest.approx(0, abs=10)
        assert path.with_suffix(".txt").read_text().strip() == draw_scene(source, index, seed=0).caption
        assert "synthetic" in read_tags(path)[PROVENANCE]


def test_rendering_twice_gives_the_same_files(tmp_path: Path) -> None:
    def hashes(folder: Path) -> list[str]:
        paths = render_source(replace(FACES, clips=2), folder, seed=3)
        return [hashlib.sha256(p.with_suffix(s).read_bytes()).hexdigest() for p in paths for s in (".mp4", ".txt")]

    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


def test_a_scene_that_cannot_be_drawn_is_refused() -> None:
    for wrong in (replace(FACES, frames=1), replace(FACES, size=31), replace(FACES, size=8)):
        with pytest.raises(RecipeError, match="cannot be drawn"):
            draw_scene(wrong, 0, seed=0)


def test_a_folder_that_vanishes_is_a_storage_error(tmp_path: Path) -> None:
    folder = tmp_path / "world"

    def vanish(_: int) -> None:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()

    with pytest.raises(StorageError, match="cannot write"):
        render_source(FACES, folder, seed=0, progress=vanish)


RENDER = """
import os, sys
from pathlib import Path
os.cpu_count = lambda: 2
from talkies.world.config import SyntheticSource
from talkies.world.render import render_source
render_source(SyntheticSource(clips=5000, fps=12.5), Path(sys.argv[1]), 0)
"""


def alive(session: int) -> set[int]:
    """The processes of a session, without zombies."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, of = path.read_text().rsplit(")", 1)[1].split()[:4]
            if int(of) == session and state != "Z":
                found.add(int(path.parent.name))
    return found


def test_no_worker_outlives_a_killed_renderer(tmp_path: Path) -> None:
    """Workers' own parent is the fork server, which lives as long as they do."""
    process = subprocess.Popen([sys.executable, "-c", RENDER, str(tmp_path / "made")], start_new_session=True)
    while not list(tmp_path.glob("made/*.mp4")):
        assert process.poll() is None
        time.sleep(0.05)
    assert len(alive(process.pid)) >= 4, "this process, the fork server and two workers"
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 60
    while left := alive(process.pid):
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.05)
