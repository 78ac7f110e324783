"""Renders the synthetic world: mp4 files of a face whose mouth opens with the loudness of its voice.

The caption of a file names the person, colour, mood and pitch of the voice. Only the file's two tracks contain the
*timing* of the voice: the first frame always shows a closed mouth, and the syllables follow a random process that is
independent of the clip's start.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from multiprocessing import active_children, forkserver, get_context, resource_tracker
from pathlib import Path

import numpy as np
import torch

from talkies.files.durable import UNWRITABLE, replacing, storage_errors, write_json
from talkies.media.write import PROVENANCE, write_mp4
from talkies.media.write_sound import write_media
from talkies.signals.answer import POLL_S, check_signal
from talkies.signals.children import children_ignore_signals, end_with_starter
from talkies.streams.codec import Media
from talkies.world.config import SyntheticSource, check_source
from talkies.world.faces import ANIMALS, BROWS, HAIRS, PAINTS, SKINS, WALLS, Face, animate, paint_face, paint_mask
from talkies.world.noises import make_noise
from talkies.world.rooms import ROOMS, heard
from talkies.world.scenes import draw_stage, seen
from talkies.world.scripts import Line, caption, draw_line, draw_spans, most_syllables, say
from talkies.world.speakers import Speaker, clip_name, draw_settings, draw_speaker, paint, pick
from talkies.world.voices import SAMPLE_RATE, Array, Voice, draw_loudness, sing

CLIPS_AT_ONCE, CLIPS_PER_PROCESS = 8, 64
"""Starting a process takes about two seconds, as long as rendering this many clips."""

DOMAINS = ("faces", "masks", "speakers", "scripts", "scenes")
PITCHES: dict[str, dict[str, float]] = {
    "faces": {"low": 112.5, "middle": 162.5, "high": 237.5},
    "masks": {"deep": 87.5, "hollow": 137.5, "shrill": 312.5},
}
FORMANTS: dict[str, tuple[float, ...]] = {
    "man": (500.0, 1200.0, 2400.0),
    "woman": (650.0, 1500.0, 2800.0),
    "boy": (750.0, 1800.0, 3000.0),
    "girl": (850.0, 2100.0, 3200.0),
    "owl": (400.0, 900.0),
    "fox": (1100.0, 2600.0),
    "bear": (300.0, 700.0),
    "cat": (900.0, 3000.0),
}
TILTS: dict[str, float] = {"happy": 0.6, "angry": 0.3, "sad": 1.2, "calm": 0.9}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One clip before encoding: its media, its caption, the (first) mouth's true opening per frame, and, of the domain
    `scenes`, the samples of every track."""

    media: Media
    caption: str
    openings: torch.Tensor
    tracks: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Cast:
    """Who is seen in each shot, who is heard, the caption, the noise behind each shot (none: silence), and what is said
    in each (none: syllables at random)."""

    faces: tuple[Face, ...]
    voice: Voice
    caption: str
    noises: tuple[str, ...] = ()
    lines: tuple[Line, ...] = ()


def _cast_face(rng: np.random.Generator, source: SyntheticSource) -> Cast:
    who, wall, mood = pick(rng, tuple(HAIRS)), pick(rng, tuple(WALLS)), pick(rng, tuple(BROWS))
    pitch = pick(rng, tuple(PITCHES["faces"]))
    face = paint_face(who, wall, mood, int(rng.integers(len(SKINS))), source.size)
    voice = Voice(pitch=PITCHES["faces"][pitch], tilt=TILTS[mood], formants=FORMANTS[who])
    return Cast(faces=(face,), voice=voice, caption=f"A {mood} {who} by a {wall} wall talks in a {pitch} voice.")


def _cast_mask(rng: np.random.Generator, source: SyntheticSource) -> Cast:
    who, colour, mood = pick(rng, ANIMALS), pick(rng, tuple(PAINTS)), pick(rng, tuple(BROWS))
    pitch = pick(rng, tuple(PITCHES["masks"]))
    face = paint_mask(who, colour, mood, source.size)
    voice = Voice(pitch=PITCHES["masks"][pitch], tilt=TILTS[mood], formants=FORMANTS[who], hollow=True)
    caption = f"The {mood} {colour} mask of the {who} chants with a {pitch} tone."
    return Cast(faces=(face,), voice=voice, caption=caption)


def _cast_speaker(rng: np.random.Generator, source: SyntheticSource, speaker: Speaker) -> Cast:
    settings = draw_settings(rng, source.frames // (source.shot or source.frames))
    return Cast(
        faces=tuple(paint(speaker, setting, source.size) for setting in settings),
        voice=speaker.voice,
        caption=f"Somebody in a {settings[0].shirt} shirt is talking.",
        noises=tuple(setting.noise for setting in settings),
    )


def _cast_script(rng: np.random.Generator, source: SyntheticSource, speaker: Speaker) -> Cast:
    shot = source.shot or source.frames
    most = most_syllables(shot / source.fps, 1 / source.fps)
    lines = tuple(draw_line(rng, most) for _ in range(source.frames // shot))
    drawn = zip(draw_settings(rng, len(lines)), lines, strict=True)
    settings = (replace(setting, noise=ROOMS[line.setting]) for setting, line in drawn)
    return Cast(
        faces=tuple(paint(speaker, setting, source.size) for setting in settings),
        voice=speaker.voice,
        caption=caption(lines[0]),
        lines=lines,
    )


def _cast(source: SyntheticSource, index: int, seed: int, rng: np.random.Generator) -> Cast:
    if source.domain == "faces":
        return _cast_face(rng, source)
    if source.domain == "masks":
        return _cast_mask(rng, source)
    speaker = draw_speaker(_key(source, seed), index // source.clips_each)
    return (_cast_speaker if source.domain == "speakers" else _cast_script)(rng, source, speaker)


def _key(source: SyntheticSource, seed: int) -> list[int]:
    """Begins the key of every draw of a source."""
    return [seed, source.seed, DOMAINS.index(source.domain)]


def draw_scene(source: SyntheticSource, index: int, seed: int) -> Scene:
    """Clip `index` of `source`: a pure function of (seed, source, index); `size` only changes the resolution.

    Every shot begins with a closed mouth; the caption is that of the first one.
    """
    check_source(source)
    rng = np.random.default_rng([*_key(source, seed), index])
    if source.domain == "scenes":
        return _staged(rng, source)
    cast = _cast(source, index, seed, rng)
    edges = np.round(np.arange(source.frames + 1) * (SAMPLE_RATE / source.fps)).astype(int)
    shots = [*pairwise(range(0, source.frames + 1, source.frames // len(cast.faces)))]
    spans = [(int(edges[b] - edges[a]), int(edges[a + 1] - edges[a])) for a, b in shots]
    samples, loudness = _say(cast, spans, rng) if cast.lines else _sing(cast, spans, rng)
    openings = np.array([loudness[a:b].mean() for a, b in pairwise(edges)])
    films = [animate(face, openings[a:b]) for face, (a, b) in zip(cast.faces, shots, strict=True)]
    media = _media(np.concatenate(films), samples, source)
    return Scene(media=media, caption=cast.caption, openings=torch.from_numpy(openings).float())


def _staged(rng: np.random.Generator, source: SyntheticSource) -> Scene:
    stage = draw_stage(rng, source)
    return Scene(
        media=_media(stage.frames, np.sum([*stage.tracks.values()], axis=0), source),
        caption=stage.caption,
        openings=torch.from_numpy(stage.openings).float(),
        tracks={track: torch.from_numpy(samples).float() for track, samples in stage.tracks.items()},
    )


def _media(film: Array, samples: Array, source: SyntheticSource) -> Media:
    """Of frames [F, H, W, 3] in [0, 1] and samples at SAMPLE_RATE."""
    frames = torch.from_numpy(film).float().permute(0, 3, 1, 2) * 2 - 1
    return Media(frames=frames, fps=source.fps, samples=torch.from_numpy(samples).float(), sample_rate=SAMPLE_RATE)


def _sing(cast: Cast, spans: Sequence[tuple[int, int]], rng: np.random.Generator) -> tuple[Array, Array]:
    """What is heard, and the loudness of the voice, in shots of so many samples with so many in the first frame."""
    loudness = np.concatenate([draw_loudness(rng, length, first_frame) for length, first_frame in spans])
    samples = sing(cast.voice, loudness, rng)
    end = 0
    for (length, _), noise in zip(spans, cast.noises, strict=False):
        samples[end : end + length] += make_noise(noise, length, rng)
        end += length
    return samples, loudness


def _say(cast: Cast, spans: Sequence[tuple[int, int]], rng: np.random.Generator) -> tuple[Array, Array]:
    """As `_sing`, for a cast that has lines."""
    shots = []
    for (length, first_frame), line in zip(spans, cast.lines, strict=True):
        said = draw_spans(rng, len(line.script), length / SAMPLE_RATE, first_frame / SAMPLE_RATE)
        voice, loudness = say(cast.voice, line.script, said, length, rng)
        shots.append((heard(line.setting, voice, rng), loudness))
    samples, loudness = (np.concatenate(parts) for parts in zip(*shots, strict=True))
    return samples, loudness


def render_source(
    source: SyntheticSource, folder: Path, seed: int, progress: Callable[[int], None] | None = None
) -> list[Path]:
    """Render `source.clips` mp4 files (H.264, AAC 16 kHz mono) with .txt captions of the same stem into `folder`.

    A caption (and of scenes NAME.json with who is seen, and with `stems` NAME.TRACK.wav of each track) is written
    before its mp4, so an existing mp4 has it; each file is written atomically. `progress` is called with the number of
    clips done. Returns the mp4 paths in order. Raises StorageError if the disk is full or not writable.
    """
    paths = [_path(source, folder, index) for index in range(source.clips)]
    for parent in {path.parent for path in paths}:
        parent.mkdir(parents=True, exist_ok=True)
    work = partial(_render_clip, source, seed, folder)
    with _workers(source.clips) as spread:
        for done, _ in enumerate(spread(work, range(source.clips)), 1):
            check_signal()
            if progress is not None:
                progress(done)
    return paths


def _render_clip(source: SyntheticSource, seed: int, folder: Path, index: int) -> None:
    path = _path(source, folder, index)
    scene = draw_scene(source, index, seed)
    caption = path.with_suffix(".txt")
    with storage_errors(caption, refused=UNWRITABLE), replacing(caption) as temporary:
        temporary.write_text(scene.caption + "\n", encoding="utf-8")
    if source.domain == "scenes":
        write_json(path.with_suffix(".json"), seen(source), refused=UNWRITABLE)
    tags = {PROVENANCE: "talkies synthetic world"}
    for track, samples in scene.tracks.items() if source.stems else ():
        write_media(path.with_suffix(f".{track}.wav"), replace(scene.media, frames=None, samples=samples), tags=tags)
    write_mp4(path, scene.media, tags=tags)


def _path(source: SyntheticSource, folder: Path, index: int) -> Path:
    return folder / f"{clip_name(source, index)}.mp4"


@contextmanager
def _workers(clips: int) -> Iterator[Callable[[Callable[[int], None], range], Iterator[None]]]:
    """A `map` over as many processes as the machine has cores, or in this process if there is little to do."""
    count = min(os.cpu_count() or 1, clips // CLIPS_PER_PROCESS)
    if count < 2:
        yield map
        return
    context = get_context("forkserver")
    with children_ignore_signals():
        resource_tracker.ensure_running()  # it unblocks signals, so that the fork server comes in a block of its own
    with children_ignore_signals():
        forkserver.ensure_running()
    others = set(active_children())
    with ProcessPoolExecutor(count, mp_context=context, initializer=end_with_starter) as pool:
        try:
            yield partial(_in_processes, pool)
        except BaseException as error:
            for worker in set() if isinstance(error, Exception) else set(active_children()) - others:
                worker.terminate()  # its clips would outlast the patience of the watcher
            # Waits, so that the pool's semaphores are gone: the tracker warns of those that outlive the process.
            pool.shutdown(cancel_futures=True)
            raise


def _in_processes(pool: ProcessPoolExecutor, work: Callable[[int], None], indices: range) -> Iterator[None]:
    """As `map`. Signals are answered even while the processes start, which may take longer than the watcher waits."""
    chunks = [indices[begin : begin + CLIPS_AT_ONCE] for begin in range(0, len(indices), CLIPS_AT_ONCE)]
    for chunk, future in [(chunk, pool.submit(_each, work, chunk)) for chunk in chunks]:
        while not future.done():
            check_signal()
            wait([future], POLL_S)
        future.result()
        yield from (None for _ in chunk)


def _each(work: Callable[[int], None], indices: range) -> None:
    for index in indices:
        work(index)
