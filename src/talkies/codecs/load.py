"""Loads the codecs of a recipe: fitted ones from their folder, pretrained ones from the weights that it names."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from talkies.codecs.config import CodecConfig
from talkies.codecs.fitted import check_identity, read_fitted, save_codec
from talkies.config import RecipeError
from talkies.streams.codec import AudioCodec, Codecs, TextEncoder, VideoCodec

__all__ = ["load_codec", "load_codecs", "save_codec"]


def load_codec(
    name: str, config: CodecConfig, folder: Path | None, *, device: torch.device | str = "cpu"
) -> VideoCodec | AudioCodec | TextEncoder:
    """The codec `name` of a recipe; arguments and errors as of `load_codecs`."""
    if config.fitted:
        if folder is None:
            raise RecipeError(
                f"`codecs.{name}`: a {config.kind} codec is fitted: it needs the codecs folder of a prepared data root"
            )
        return _fitted(config, folder / name)
    return _pretrained(config, device)


# Imports are inside the functions: a toy run must not spend ten seconds importing diffusers and transformers.


def _fitted(config: Any, folder: Path) -> VideoCodec | AudioCodec:
    codec: Any
    if config.kind == "linear_video":
        from talkies.codecs.linear_video import LinearVideoCodec  # noqa: PLC0415

        codec = LinearVideoCodec(config, read_fitted(config, folder))
    else:
        from talkies.codecs.linear_audio import LinearAudioCodec  # noqa: PLC0415

        codec = LinearAudioCodec(config, read_fitted(config, folder))
    check_identity(codec, folder)
    loaded: VideoCodec | AudioCodec = codec
    return loaded


def _pretrained(config: Any, device: torch.device | str) -> VideoCodec | AudioCodec | TextEncoder:
    if config.kind == "wan":
        from talkies.codecs.wan import WanVideoCodec  # noqa: PLC0415

        return WanVideoCodec.load(config, device=device)
    if config.kind == "mova_dac":
        from talkies.codecs.mova_dac import MovaAudioCodec  # noqa: PLC0415

        return MovaAudioCodec.load(config, device=device)
    if config.kind == "umt5":
        from talkies.codecs.umt5 import Umt5TextEncoder  # noqa: PLC0415

        return Umt5TextEncoder.load(config, device=device)
    from talkies.codecs.byte_text import ByteTextEncoder  # noqa: PLC0415

    return ByteTextEncoder(config)


def load_codecs(
    config: Mapping[str, CodecConfig],
    folder: Path | None,
    *,
    names: Collection[str] | None = None,
    device: torch.device | str = "cpu",
) -> Codecs:
    """The codecs `names` (None: all) of a recipe; the files of the others are not read.

    `folder` is <data root>/codecs with a folder for each of a fitted kind (None if all kinds are pretrained);
    pretrained networks are put on `device`. Raises RecipeError for a missing or unsuitable `codecs.<name>.weights`,
    DataError for the contents of a folder.
    """
    parts: dict[str, dict[str, Any]] = {"video": {}, "audio": {}, "text": {}}
    for name, section in config.items():
        if names is None or name in names:
            parts[section.medium][name] = load_codec(name, section, folder, device=device)
    return Codecs(**parts)
