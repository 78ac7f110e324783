"""Files of write_mp4 are read back by read_*: pictures, sound on time, tags; and they are written atomically."""

import resource
from collections.abc import Iterable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import pytest
import torch

from talkies.config import DataError, StorageError
from talkies.media import write
from talkies.media.frames import read_frames
from talkies.media.probe import probe
from talkies.media.sound import read_audio
from talkies.media.write import OPTIONS, PROVENANCE, Pieces, check_media, encoders, read_tags, write_mp4
from talkies.streams.codec import Media


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(10 * torch.log10(255**2 / (a.float() - b.float()).square().mean()))


def as_bytes(frames: torch.Tensor) -> torch.Tensor:
    return ((frames + 1) * 127.5).round().byte()


@pytest.mark.parametrize("size", [32, 64])
def test_small_frames_stay_faithful(tmp_path: Path, square: Media, size: int) -> None:
    frames = square.frames.repeat_interleave(size // 32, -1).repeat_interleave(size // 32, -2)
    write_mp4(tmp_path / "a.mp4", replace(square, frames=frames), tags={})
    read = read_frames(tmp_path / "a.mp4", frames=25, fps=12.0, height=size, width=size)
    assert read.shape == (25, 3, size, size)
    assert read.dtype == torch.uint8
    assert psnr(read, as_bytes(frames)) > 36


def test_colours_survive(tmp_path: Path) -> None:
    """Flat saturated colours come back within a few levels: writer, file and reader agree on matrix and range."""
    for colour in ([1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-0.5, -0.5, 0.9], [1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]):
        frames = torch.tensor(colour)[None, :, None, None].expand(3, 3, 32, 32)
        write_mp4(tmp_path / "a.mp4", Media(frames=frames, fps=12.0, samples=None, sample_rate=1), tags={})
        read = read_frames(tmp_path / "a.mp4", frames=3, fps=12.0, height=32, width=32)
        assert (read.int() - as_bytes(frames).int()).abs().max() <= 4, colour
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (frame.format.name, frame.colorspace, frame.color_range) == ("yuv420p", 1, 1)


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
@pytest.mark.parametrize("seconds", [0.05, 0.5, 1.0, 1.9])
def test_a_click_is_heard_when_it_was_written(tmp_path: Path, rate: int, seconds: float) -> None:
    samples = torch.zeros(rate * 2)
    samples[round(seconds * rate)] = 0.9
    media = Media(frames=torch.zeros(24, 3, 32, 32), fps=12.0, samples=samples, sample_rate=rate)
    write_mp4(tmp_path / "a.mp4", media, tags={})
    read = read_audio(tmp_path / "a.mp4", sample_rate=rate, seconds=2.0)
    assert len(read) == rate * 2
    assert abs(int(read.abs().argmax()) / rate - seconds) < 0.001


@pytest.mark.parametrize("length", [300, 1024, 16000, 33333])
def test_sound_of_any_length_is_kept(tmp_path: Path, length: int) -> None:
    samples = torch.sin(torch.arange(length) * 0.2) * 0.5
    write_mp4(tmp_path / "a.mp4", Media(frames=None, fps=12.0, samples=samples, sample_rate=16000), tags={})
    read = read_audio(tmp_path / "a.mp4", sample_rate=16000, seconds=100.0)
    assert abs(len(read) - length) <= 1024
    shared = min(len(read), length)
    error = (read[:shared] - samples[:shared]).square().mean() / samples.square().mean()
    assert error < 0.01


@pytest.mark.parametrize("rate", [16000, 48000])
@pytest.mark.parametrize("peak", [0.05, 0.4, 0.6, 0.9])
def test_a_tone_of_any_level_stays_faithful(tmp_path: Path, rate: int, peak: float) -> None:
    samples = peak * torch.sin(2 * torch.pi * 440.7 / rate * torch.arange(rate))
    write_mp4(tmp_path / "a.m4a", Media(frames=None, fps=12.0, samples=samples, sample_rate=rate), tags={})
    error = read_audio(tmp_path / "a.m4a", sample_rate=rate, seconds=1.0) - samples
    inner = slice(2048, -2048)  # the codec's first and last frames lack neighbours
    assert 10 * torch.log10(samples[inner].square().mean() / error[inner].square().mean()) > 45


def test_one_file_may_hold_sound_only_or_pictures_only(tmp_path: Path, square: Media) -> None:
    write_mp4(tmp_path / "a.m4a", replace(square, frames=None), tags={"title": "sound"})
    write_mp4(tmp_path / "v.mp4", replace(square, samples=None), tags={})
    sound, pictures = probe(tmp_path / "a.m4a"), probe(tmp_path / "v.mp4")
    assert (sound.width, sound.audio_rate, sound.audio_channels) == (None, 16000, 1)
    assert (pictures.width, pictures.frames, pictures.fps, pictures.audio_rate) == (32, 25, 12.0, None)
    assert read_tags(tmp_path / "a.m4a")["title"] == "sound"
    assert (tmp_path / "a.m4a").read_bytes()[8:12] == b"M4A "


def test_tags_survive(tmp_path: Path, square: Media) -> None:
    tags = {PROVENANCE: "synthetic; talkies joint sha256 12ab seed 0", "title": 'a "quoted" line\nand = ünï; code'}
    write_mp4(tmp_path / "a.mp4", square, tags=tags)
    assert read_tags(tmp_path / "a.mp4") == {**tags, "comment": tags[PROVENANCE]}


def test_the_index_comes_first_so_that_browsers_can_start(tmp_path: Path, square: Media) -> None:
    write_mp4(tmp_path / "a.mp4", square, tags={})
    data = (tmp_path / "a.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("loud", [0.4, 0.9])
def test_the_same_clip_gives_the_same_bytes(tmp_path: Path, loud: float) -> None:
    """Also after other clips, which leave other values in memory."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand(60, 3, 4, 4, generator=rng) * 1.6 - 0.8
    sound = loud * (2 * torch.rand(80000, generator=rng) - 1)
    frames = torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bilinear")
    clip = Media(frames=frames, fps=12.0, samples=sound, sample_rate=16000)
    found = set()
    for side in (32, 48, 64, 80, 96, 112, 128, 144):
        other = Media(frames=torch.rand(6, 3, side, 64) * 2 - 1, fps=12.0, samples=None, sample_rate=1)
        write_mp4(tmp_path / "other.mp4", other, tags={})
        write_mp4(tmp_path / "a.mp4", clip, tags={"title": "x"})
        found.add((tmp_path / "a.mp4").read_bytes())
    assert len(found) == 1


def test_fractional_rates_are_kept(tmp_path: Path, square: Media) -> None:
    write_mp4(tmp_path / "a.mp4", replace(square, fps=30000 / 1001), tags={})
    assert probe(tmp_path / "a.mp4").fps == pytest.approx(30000 / 1001, abs=1e-9)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames": None, "samples": None}, "without frames and sound"),
        ({"frames": torch.zeros(3, 3, 31, 32)}, "31x32"),
        ({"frames": torch.full((3, 3, 32, 32), float("nan"))}, "not all finite"),
        ({"samples": torch.zeros(0)}, "empty"),
        ({"sample_rate": 16001}, "16001 Hz"),
    ],
)
def test_media_that_mp4_cannot_hold_are_refused(tmp_path: Path, square: Media, change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        write_mp4(tmp_path / "a.mp4", replace(square, **change), tags={})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_a_storage_error(tmp_path: Path, square: Media) -> None:
    with pytest.raises(StorageError, match="No such file"):
        write_mp4(tmp_path / "no" / "a.mp4", square, tags={})


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, square: Media, share: float) -> None:
    """Full in the header, in the packets, and while the index is moved to the front."""
    target = tmp_path / "a.mp4"
    write_mp4(target, square, tags={})
    before = target.read_bytes()
    noise = replace(square, frames=torch.rand(25, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    write_mp4(tmp_path / "whole.mp4", noise, tags={})
    limit = int((tmp_path / "whole.mp4").stat().st_size * share)
    (tmp_path / "whole.mp4").unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))  # Python ignores SIGXFSZ: writing fails with EFBIG
    try:
        with pytest.raises(StorageError, match="cannot write"):
            write_mp4(target, noise, tags={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]


def test_tags_of_something_else_are_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no media at all")
    with pytest.raises(DataError, match=r"a\.mp4"):
        read_tags(tmp_path / "a.mp4")


def test_a_film_that_comes_in_pieces_is_the_same_file(
    tmp_path: Path, square: Media, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And each piece is asked for when the one before is encoded."""
    assert square.frames is not None
    encoded, silent, pictures = [0], replace(square, samples=None), write._pictures
    asked = list[int]()

    def pieces() -> Iterator[torch.Tensor]:
        for piece in square.frames.split(7):
            asked.append(encoded[0])
            yield piece

    def counted(given: Iterable[torch.Tensor]) -> Iterator[Any]:
        for picture in pictures(given):
            yield picture
            encoded[0] += 1  # when the next one is asked for

    def written(path: Path, media: Media | Pieces) -> bytes:
        with av.open(str(path), "w", format="mp4", container_options=OPTIONS) as out:
            (packets,) = encoders(out, media)
            for packet in packets:
                out.mux(packet)
        return path.read_bytes()

    expected = written(tmp_path / "b.mp4", silent)
    monkeypatch.setattr(write, "_pictures", counted)
    assert written(tmp_path / "a.mp4", Pieces(pieces=pieces(), height=32, width=32, fps=square.fps)) == expected
    assert asked == [0, 7, 14, 21]


def test_pieces_that_cannot_be_written_are_refused() -> None:
    frames = torch.zeros(3, 3, 32, 32)
    with pytest.raises(ValueError, match="frames of 32x31 cannot be written: H"):
        check_media(Pieces(pieces=[frames[..., :31]], height=32, width=31, fps=12.0))
    film = Pieces(pieces=[frames, frames / 0], height=32, width=32, fps=12.0)
    check_media(film)
    with av.open(BytesIO(), "w", format="mp4") as out, pytest.raises(ValueError, match="not all finite"):
        list(encoders(out, film)[0])
