"""What `talkies sample` writes for a given sound: its own sound, untouched, and a film of its whole length in step."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from listening import FPS, FRAMES, RATE, Lit, codecs, grids, samples, setup
from torch import Tensor

from talkies.config import StorageError
from talkies.flow.config import SamplingConfig, WindowsConfig
from talkies.generate.given import given_sound
from talkies.generate.request import Request
from talkies.media.frames import read_frames
from talkies.media.probe import probe
from talkies.media.sound import read_audio
from talkies.media.timeline import find_beginning
from talkies.media.write import read_tags
from talkies.parallel.ranks import Ranks
from talkies.parallel.world import ALONE
from talkies.runs import run_sample
from talkies.runs.opened import Source
from talkies.runs.run_sample import make_clip

FILES = {"wav": "pcm_s16le", "mp3": "libmp3lame", "m4a": "aac", "flac": "flac"}
THEIR_RATE, TOTAL = 44100, 41
"""Hz and frames of the given files; a clip has 9 frames."""
BEEPS = (2, 13, 27, 38)
"""The frames of the beeps."""
SAMPLING = SamplingConfig(steps=2, windows=WindowsConfig(overlap=3 / FPS))


def given(path: Path) -> Path:
    """Stereo sound at 44.1 kHz with beeps, louder on the left."""
    time = torch.arange(int(TOTAL / FPS * THEIR_RATE)) / THEIR_RATE
    inside = torch.zeros(len(time), dtype=torch.bool)
    for frame in BEEPS:
        inside |= (time >= frame / FPS) & (time < (frame + 1) / FPS)
    sound = 0.9 * torch.sin(2 * torch.pi * 1000 * time) * inside
    both = (torch.stack([sound, sound / 2], 1) * 32767).short().numpy().reshape(1, -1)
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(FILES[path.suffix[1:]], rate=THEIR_RATE, layout="stereo")
        frame = av.AudioFrame.from_ndarray(both, format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = THEIR_RATE, 0, Fraction(1, THEIR_RATE)
        for packet in (*stream.encode(frame), *stream.encode(None)):
            out.mux(packet)
    return path


def packets(path: Path) -> bytes:
    """Of the sound, in a row; of the wav, and the FLAC that is made of it, the samples."""
    with av.open(str(path)) as container:
        stream: Any = container.streams.best("audio")
        if stream.codec_context.format.name == "s16":
            return b"".join(frame.to_ndarray().tobytes() for frame in container.decode(stream))
        return b"".join(bytes(packet) for packet in container.demux(stream) if packet.size)


def source(model: Lit) -> Source:
    recipe: Any = setup()
    return Source(
        name="lit",
        sha256="ab" * 32,
        model=model,
        denoiser=model,
        codecs=codecs(),
        recipe=recipe,
        grids=grids(),
        fps=FPS,
        run=None,
        step=1,
        released=True,
        device=torch.device("cpu"),
    )


def made(path: Path, out: Path, *, sampling: SamplingConfig = SAMPLING, ranks: Ranks | None = None) -> list[str]:
    """The film of a file; what was said."""
    more = None if sampling.windows is not None else 0.0
    sound = given_sound(path, sample_rate=RATE, samples=samples(FRAMES), more=more)
    request = Request(prompts={"text": "a face"}, id="sample", given={"audio": sound.values})
    said: list[str] = []
    make_clip(
        source(Lit()),
        request,
        sampling,
        seed=0,
        out=out,
        ranks=ranks or Ranks(ALONE),
        beside=("audio", path, sound),
        say=said.append,
    )
    return said


def brightness(path: Path) -> tuple[Tensor, Tensor]:
    """Of every frame of a film, [F] in 0..1; and the peak of its sound [F] while the frame is shown."""
    begin, count = find_beginning(path), probe(path).frames
    assert count is not None
    pixels = read_frames(path, frames=count, fps=FPS, height=16, width=16, begin=begin).float() / 255
    heard = read_audio(path, sample_rate=RATE, seconds=count / FPS, begin=begin)
    heard = torch.nn.functional.pad(heard, (0, samples(count) - len(heard)))
    return pixels.mean((1, 2, 3)), heard.view(count, -1).abs().amax(1)


@pytest.mark.parametrize("kind", FILES)
def test_the_sound_is_the_file_s_and_every_beep_is_seen_when_it_is_heard(tmp_path: Path, kind: str) -> None:
    """Packet by packet, and within one audio frame, which is a third of a picture's time or less."""
    path, out = given(tmp_path / f"a.{kind}"), tmp_path / "out.mp4"
    said = made(path, out)
    assert packets(out) == packets(path)
    info = probe(out)
    assert (info.audio_rate, info.audio_channels, info.fps) == (THEIR_RATE, 2, FPS)
    assert info.frames in (TOTAL, TOTAL + 1), "encoders pad by less than a frame"
    seen, heard = brightness(out)
    assert [int(frame) for frame in (heard[:TOTAL] > 0.5).nonzero()] == list(BEEPS)
    assert [int(frame) for frame in (seen[:TOTAL] > 0.5).nonzero()] == list(BEEPS)
    stored = "; ".join(said[2:-2])
    assert [*said[:2], said[-2]] == [
        f"sample:   {path}: resampled from 44,100 to 16,000 Hz for the model",
        f"sample:   {path}: its 2 channels are mixed to one for the model",
        f"sample:   {path}: the film is made in 7 windows of 0.72 s, 0.24 s of each in common with the next",
    ]
    assert (" is stored as FLAC, sample for sample" in stored) == (kind == "wav")
    assert said[-1].startswith(f"sample:   {out} (lit, seed 0): a face")
    assert read_tags(out)["talkies-provenance"].startswith("synthetic; talkies lit sha256 abab")


@pytest.mark.parametrize("kind", FILES)
def test_the_first_sample_stays_where_it_was(tmp_path: Path, kind: str) -> None:
    """The edges of the beeps, to within one frame of the sound's own codec: 26 ms of mp3, 23 ms of AAC."""
    path, out = given(tmp_path / f"a.{kind}"), tmp_path / "out.mp4"
    made(path, out)
    before, after = (
        read_audio(file, sample_rate=THEIR_RATE, seconds=TOTAL / FPS, begin=find_beginning(file, modalities=("audio",)))
        for file in (path, out)
    )
    edge = round(BEEPS[0] / FPS * THEIR_RATE)
    for sound in (before, after):
        assert abs(int((sound.abs() > 0.3).nonzero()[0]) - edge) < 0.026 * THEIR_RATE
    begin = find_beginning(out)
    with_pictures = read_audio(out, sample_rate=THEIR_RATE, seconds=TOTAL / FPS, begin=begin)
    assert abs(int((with_pictures.abs() > 0.3).nonzero()[0]) - edge) < 0.026 * THEIR_RATE


def test_without_windows_without_windows_the_clip_shows_the_beginning_of_a_longer_sound(tmp_path: Path) -> None:
    path, out = given(tmp_path / "a.wav"), tmp_path / "out.mp4"
    said = made(path, out, sampling=SamplingConfig(steps=2))
    cut = "it lasts 3.28 s: the clip is made for the first 0.72 s; --overlap makes a film for all of it"
    assert f"sample:   {path}: {cut}" in said
    assert probe(out).frames == FRAMES
    assert packets(out) == packets(path)


def test_a_film_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    path = given(tmp_path / "a.wav")
    with pytest.raises(StorageError, match="nowhere"):
        made(path, tmp_path / "nowhere" / "out.mp4")
    assert not list(tmp_path.glob("*.mp4"))


class Followed:
    """Ranks of which another process closes the film after `pieces`."""

    main = True

    def __init__(self, pieces: int) -> None:
        self.left, self.told = pieces, list[bool]()

    def any(self, flag: bool) -> bool:
        self.told.append(flag)
        self.left -= 1
        return flag or self.left == 0


def test_pieces_end_in_all_processes_when_one_closes_them() -> None:
    taken: list[int] = []

    def pieces() -> Iterator[int]:
        for number in range(5):
            taken.append(number)
            yield number

    other: Any = Followed(2)
    assert list(Ranks.in_step(other, pieces())) == [0, 1]
    assert (taken, other.told) == ([0, 1], [False, False])
    own: Any = Followed(9)
    film = Ranks.in_step(own, pieces())
    assert [next(film), next(film)] == [0, 1]
    film.close()
    assert own.told == [False, True]
    assert list(Ranks(ALONE).in_step(pieces())) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("windows", "lines"), [(None, 1), (WindowsConfig(overlap=3 / FPS), 7)])
def test_what_takes_long_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, windows: WindowsConfig | None, lines: int
) -> None:
    path, sampling = given(tmp_path / "a.wav"), SamplingConfig(steps=2, windows=windows)
    step = "sample:   step 1 of 2"
    assert step not in made(path, tmp_path / "quick.mp4", sampling=sampling)
    monkeypatch.setattr(run_sample, "EVERY_S", 0.0)
    assert made(path, tmp_path / "slow.mp4", sampling=sampling).count(step) == lines
