"""Fitted codecs on disk, and codecs from a recipe."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from talkies.codecs import fitted, linear_audio, linear_video
from talkies.codecs.config import (
    ByteTextConfig,
    CodecsConfig,
    LinearAudioConfig,
    LinearVideoConfig,
    MovaAudioConfig,
    Umt5TextConfig,
    WanVideoConfig,
)
from talkies.codecs.load import load_codec, load_codecs, save_codec
from talkies.config import DataError, RecipeError, StorageError

VIDEO = LinearVideoConfig(channels=4, block=4)
AUDIO = LinearAudioConfig(channels=4, hop=64)
CONFIG = CodecsConfig(video=VIDEO, audio=AUDIO, text=ByteTextConfig())


def clips() -> list[torch.Tensor]:
    return list(torch.rand(4, 5, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1)


def sounds() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2048, generator=generator) * level for level in (0.05, 0.1, 0.2, 0.3)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_codec(linear_video.fit(VIDEO, clips()), tmp_path / "video")
    save_codec(linear_audio.fit(AUDIO, sounds()), tmp_path / "audio")
    return tmp_path


def test_round_trip_is_exact(folder: Path) -> None:
    codecs = load_codecs(CONFIG, folder)
    assert (list(codecs.video), list(codecs.audio), list(codecs.text)) == (["video"], ["audio"], ["text"])
    video, audio = linear_video.fit(VIDEO, clips()), linear_audio.fit(AUDIO, sounds())
    assert (codecs.video["video"].identity, codecs.audio["audio"].identity) == (video.identity, audio.identity)
    assert torch.equal(codecs.video["video"].encode(clips()[0][None]), video.encode(clips()[0][None]))
    assert torch.equal(codecs.audio["audio"].encode(sounds()[0][None]), audio.encode(sounds()[0][None]))
    assert codecs.text["text"].encode(["a face"]).length.tolist() == [2]
    assert sorted(p.name for p in (folder / "video").iterdir()) == ["config.json", "model.safetensors"]


def test_only_what_is_needed_is_read(folder: Path) -> None:
    (folder / "audio" / "config.json").unlink()
    codecs = load_codecs(CONFIG, folder, names=("video", "text"))
    assert codecs.identities.keys() == {"video", "text"}
    assert codecs.audio == {}
    with pytest.raises(DataError, match=r"no fitted codec in .*audio.*talkies prepare"):
        load_codecs(CONFIG, folder)
    unread = CodecsConfig(video=WanVideoConfig(), audio=MovaAudioConfig(), text=ByteTextConfig())
    assert load_codecs(unread, None, names=("text",)).identities.keys() == {"text"}
    assert load_codecs(unread, None, names=()).identities == {}


def test_codecs_may_have_any_names_and_several_of_a_kind(folder: Path) -> None:
    """A codec is known by its name in the recipe; its kind says what it encodes."""
    (folder / "video").rename(folder / "film")
    codecs = load_codecs(
        {"film": VIDEO, "audio": AUDIO, "title": ByteTextConfig(dim=8), "lyrics": ByteTextConfig()}, folder
    )
    assert (list(codecs.video), list(codecs.audio), list(codecs.text)) == (["film"], ["audio"], ["title", "lyrics"])
    assert codecs.text["title"].identity != codecs.text["lyrics"].identity
    assert len(set(codecs.identities.values())) == 4
    with pytest.raises(RecipeError, match=r"`codecs\.film`: a linear_video codec is fitted"):
        load_codec("film", VIDEO, None)


def test_the_toy_imports_no_heavy_library(folder: Path) -> None:
    program = (
        "import pathlib, sys\n"
        "from talkies.codecs.config import *\n"
        "from talkies.codecs.load import load_codecs\n"
        "config = CodecsConfig(video=LinearVideoConfig(channels=4, block=4),"
        " audio=LinearAudioConfig(channels=4, hop=64), text=ByteTextConfig())\n"
        "load_codecs(config, pathlib.Path(sys.argv[1]))\n"
        "assert not {'diffusers', 'transformers', 'ftfy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True, timeout=120)


def test_another_config_is_refused_by_key(folder: Path) -> None:
    other = CodecsConfig(video=LinearVideoConfig(channels=8, block=4), audio=AUDIO, text=ByteTextConfig())
    with pytest.raises(DataError, match="channels: recipe 8, folder 4") as caught:
        load_codecs(other, folder)
    assert "block" not in str(caught.value)


def test_damage_is_found(folder: Path) -> None:
    path = folder / "video" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"model\.safetensors is damaged: sha256"):
        load_codecs(CONFIG, folder)


def test_another_algorithm_is_found(folder: Path) -> None:
    path = folder / "video" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"identity": "0" * 64}))
    with pytest.raises(DataError, match="another version of talkies"):
        load_codecs(CONFIG, folder)


def test_fitted_kinds_need_a_folder_and_pretrained_ones_weights() -> None:
    with pytest.raises(RecipeError, match=r"codecs\.video.*prepared data root"):
        load_codecs(CONFIG, None)
    pretrained = CodecsConfig(video=WanVideoConfig(), audio=MovaAudioConfig(), text=Umt5TextConfig())
    with pytest.raises(RecipeError, match=r"codecs\.video\.weights"):
        load_codecs(pretrained, None)
    with pytest.raises(RecipeError, match=r"codecs\.audio\.weights"):
        load_codecs(pretrained, None, names=("audio",))
    with pytest.raises(RecipeError, match=r"codecs\.text\.weights"):
        load_codecs(pretrained, None, names=("text",))


def test_a_full_disk_leaves_no_codec(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fitted.os, "fsync", full)
    with pytest.raises(StorageError, match="free space"):
        save_codec(linear_video.fit(VIDEO, clips()), folder / "video")
    assert [p.name for p in (folder / "video").iterdir()] == ["model.safetensors"]
    with pytest.raises(DataError, match="no fitted codec"):
        load_codecs(CONFIG, folder)
