"""Loads the codecs of a recipe: fitted ones from their folder, pretrained ones from the weights that it names."""

from collections.abc import Collection
from pathlib import Path

import torch

from talkies.codecs.config import CodecsConfig
from talkies.codecs.fitted import check_identity, read_fitted, save_codec
from talkies.config import RecipeError
from talkies.streams import MODALITIES, Modality
from talkies.streams.codec import AudioCodec, Codecs, TextEncoder, VideoCodec

__all__ = ["load_audio", "load_codecs", "load_text", "load_video", "save_codec"]


def _part(folder: Path | None, name: str, kind: str) -> Path:
    if folder is None:
        raise RecipeError(
            f"`codecs.{name}`: a {kind} codec is fitted: it needs the codecs folder of a prepared data root"
        )
    return folder / name


# Imports are inside the functions: a toy run must not spend ten seconds importing diffusers and transformers.


def load_video(config: CodecsConfig, folder: Path | None, *, device: torch.device | str = "cpu") -> VideoCodec:
    """The video codec of a recipe; errors as `load_codecs`."""
    if config.video.kind == "wan":
        from talkies.codecs.wan import WanVideoCodec  # noqa: PLC0415

        return WanVideoCodec.load(config.video, device=device)
    from talkies.codecs.linear_video import LinearVideoCodec  # noqa: PLC0415

    part = _part(folder, "video", config.video.kind)
    codec = LinearVideoCodec(config.video, read_fitted(config.video, part))
    check_identity(codec, part)
    return codec


def load_audio(config: CodecsConfig, folder: Path | None, *, device: torch.device | str = "cpu") -> AudioCodec:
    """The audio codec of a recipe; errors as `load_codecs`."""
    if config.audio.kind == "mova_dac":
        from talkies.codecs.mova_dac import MovaAudioCodec  # noqa: PLC0415

        return MovaAudioCodec.load(config.audio, device=device)
    from talkies.codecs.linear_audio import LinearAudioCodec  # noqa: PLC0415

    part = _part(folder, "audio", config.audio.kind)
    codec = LinearAudioCodec(config.audio, read_fitted(config.audio, part))
    check_identity(codec, part)
    return codec


def load_text(config: CodecsConfig, *, device: torch.device | str = "cpu") -> TextEncoder:
    """The text encoder of a recipe; errors as `load_codecs`."""
    if config.text.kind == "umt5":
        from talkies.codecs.umt5 import Umt5TextEncoder  # noqa: PLC0415

        return Umt5TextEncoder.load(config.text, device=device)
    from talkies.codecs.byte_text import ByteTextEncoder  # noqa: PLC0415

    return ByteTextEncoder(config.text)


def load_codecs(
    config: CodecsConfig,
    folder: Path | None,
    *,
    modalities: Collection[Modality] = MODALITIES,
    device: torch.device | str = "cpu",
) -> Codecs:
    """The codecs of `modalities` and the text encoder. The others are None and their files are not read.

    `folder` is <data root>/codecs with video/ and audio/ of the fitted kinds (None if all kinds are pretrained);
    pretrained networks are put on `device`. Raises RecipeError for a missing or unsuitable `codecs.<part>.weights`,
    DataError for the contents of a folder.
    """
    return Codecs(
        video=load_video(config, folder, device=device) if "video" in modalities else None,
        audio=load_audio(config, folder, device=device) if "audio" in modalities else None,
        text=load_text(config, device=device),
    )
