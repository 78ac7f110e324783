"""Loads the codecs of a recipe: fitted ones from their folder, pretrained ones from the weights that it names, and
those that are both from both."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from talkies.codecs.config import CodecConfig, PretrainedTextConfig, SoundVaeConfig, VideoVaeConfig
from talkies.codecs.demix_config import DemixerConfig, check_demixer
from talkies.codecs.fitted import check_identity, read_fitted, save_codec
from talkies.config import RecipeError
from talkies.streams.codec import AudioEncoder, Codecs, Demixer, TextEncoder, VideoCodec

if TYPE_CHECKING:
    from talkies.codecs.sound_vae import SoundVae
    from talkies.codecs.token_text import TokenTextEncoder
    from talkies.codecs.video_vae import VideoVae

__all__ = ["load_bare", "load_codec", "load_codecs", "load_demixer", "save_codec"]


def load_codec(
    name: str, config: CodecConfig, folder: Path | None, *, device: torch.device | str = "cpu"
) -> VideoCodec | AudioEncoder | TextEncoder | Demixer:
    """The codec `name` of a recipe; arguments and errors as of `load_codecs`."""
    if config.fitted:
        if folder is None:
            raise RecipeError(
                f"`codecs.{name}`: a {config.kind} codec is fitted: it needs the codecs folder of a prepared data root"
            )
        return _fitted(f"codecs.{name}", config, folder / name, device)
    return _unfitted(name, config, device)


# Imports are inside the functions: a toy run must not spend ten seconds importing diffusers and transformers.


def _fitted(key: str, config: Any, folder: Path, device: torch.device | str) -> VideoCodec | AudioEncoder:
    weights = read_fitted(config, folder)
    codec: Any
    if config.kind == "linear_video":
        from talkies.codecs.linear_video import LinearVideoCodec  # noqa: PLC0415

        codec = LinearVideoCodec(config, weights)
    elif config.kind == "source_filter":
        from talkies.codecs.source_filter import SourceFilterCodec  # noqa: PLC0415

        codec = SourceFilterCodec(config, weights)
    elif config.kind == "linear_audio":
        from talkies.codecs.linear_audio import LinearAudioCodec  # noqa: PLC0415

        codec = LinearAudioCodec(config, weights)
    else:
        codec = _sound_vae(config).load(config, weights, key=key, device=device)
    check_identity(codec.identity, folder)
    loaded: VideoCodec | AudioEncoder = codec
    return loaded


def load_bare(name: str, config: SoundVaeConfig, *, device: torch.device | str = "cpu") -> "SoundVae":
    """The pretrained part of the codec `name` of a recipe, to be fitted. RecipeError for a missing or unsuitable
    `codecs.<name>.weights`, DataError for its contents."""
    return _sound_vae(config).bare(config, key=f"codecs.{name}", device=device)


def _sound_vae(config: SoundVaeConfig) -> "type[SoundVae]":
    if config.kind == "oobleck":
        from talkies.codecs.oobleck import OobleckAudioCodec  # noqa: PLC0415

        return OobleckAudioCodec
    from talkies.codecs.same import SameAudioCodec  # noqa: PLC0415

    return SameAudioCodec


def _unfitted(name: str, config: Any, device: torch.device | str) -> VideoCodec | AudioEncoder | TextEncoder | Demixer:
    key = f"codecs.{name}"
    if config.medium == "video":
        return _video(key, config, device)
    if config.medium == "tracks":
        return load_demixer(config, key=key, device=device)
    return _audio(key, config, device) if config.medium == "audio" else _text(key, config, device)


def _video(key: str, config: Any, device: torch.device | str) -> VideoCodec:
    video: VideoCodec = video_vae_kind(config).load(config, key=key, device=device)
    return video


def video_vae_kind(config: VideoVaeConfig) -> "type[VideoVae]":
    """The class of a pretrained video VAE."""
    if config.kind == "mochi":
        from talkies.codecs.mochi import MochiVideoCodec  # noqa: PLC0415

        return MochiVideoCodec
    if config.kind == "cogvideox":
        from talkies.codecs.cogvideox import CogVideoXVideoCodec  # noqa: PLC0415

        return CogVideoXVideoCodec
    from talkies.codecs.wan import WanVideoCodec  # noqa: PLC0415

    return WanVideoCodec


def _audio(key: str, config: Any, device: torch.device | str) -> AudioEncoder:
    if config.kind == "waveform":
        from talkies.codecs.waveform import WaveformCodec  # noqa: PLC0415

        return WaveformCodec(config)
    if config.kind == "log_mel":
        from talkies.codecs.log_mel import LogMelEncoder  # noqa: PLC0415

        return LogMelEncoder(config, key=key)
    if config.kind == "mova_dac":
        from talkies.codecs.mova_dac import MovaAudioCodec  # noqa: PLC0415

        return MovaAudioCodec.load(config, key=key, device=device)
    from talkies.codecs import speech  # noqa: PLC0415

    kind = speech.WhisperEncoder if config.kind == "whisper" else speech.WaveEncoder
    return kind.load(config, key=key, device=device)


def load_demixer(config: DemixerConfig, *, key: str, device: torch.device | str = "cpu") -> Demixer:
    """The demixer of the section `key`; errors as of `load_codecs`."""
    check_demixer(config, key)
    from talkies.codecs.demix import BandDemixer, TrackFiles  # noqa: PLC0415

    if config.kind == "tracks":
        return TrackFiles(config, key=key)
    if config.kind == "bands":
        return BandDemixer(config)
    from talkies.codecs.demucs import DemucsDemixer  # noqa: PLC0415

    return DemucsDemixer.load(config, key=key, device=device)


def _text(key: str, config: Any, device: torch.device | str) -> TextEncoder:
    if isinstance(config, PretrainedTextConfig):
        return token_encoder(config).load(config, key=key, device=device)
    from talkies.codecs.byte_text import ByteTextEncoder  # noqa: PLC0415

    return ByteTextEncoder(config)


def token_encoder(config: PretrainedTextConfig) -> "type[TokenTextEncoder]":
    """The class of a pretrained text encoder."""
    if config.kind == "umt5":
        from talkies.codecs.umt5 import Umt5TextEncoder  # noqa: PLC0415

        return Umt5TextEncoder
    if config.kind == "byt5":
        from talkies.codecs.byt5 import ByT5TextEncoder  # noqa: PLC0415

        return ByT5TextEncoder
    from talkies.codecs.t5 import T5TextEncoder  # noqa: PLC0415

    return T5TextEncoder


def load_codecs(
    config: Mapping[str, CodecConfig],
    folder: Path | None,
    *,
    names: Collection[str] | None = None,
    device: torch.device | str = "cpu",
) -> Codecs:
    """The codecs `names` (None: all) of a recipe; the files of the others are not read.

    `folder` is <data root>/codecs with a folder for each of a fitted kind (None if no kind is fitted); pretrained
    networks are put on `device`. Raises RecipeError for a missing or unsuitable `codecs.<name>.weights`,
    DataError for the contents of a folder.
    """
    parts: dict[str, dict[str, Any]] = {"video": {}, "audio": {}, "text": {}, "tracks": {}}
    for name, section in config.items():
        if names is None or name in names:
            parts[section.medium][name] = load_codec(name, section, folder, device=device)
    return Codecs(demix=parts.pop("tracks"), **parts)
