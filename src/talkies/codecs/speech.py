"""Features of pretrained speech encoders: wav2vec 2.0, HuBERT and Whisper's encoder, as transformers has them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad
from transformers import HubertModel, Wav2Vec2Model, WhisperFeatureExtractor, WhisperModel

from talkies.codecs.geometry import audio_grid, samples_of
from talkies.codecs.identity import identity
from talkies.codecs.layer_states import all_states, resampled
from talkies.codecs.pretrained import check_geometry, read_config, read_transformer, weights_folder
from talkies.codecs.speech_config import HubertConfig, SpeechConfig, Wav2Vec2Config, WaveConfig, WhisperConfig
from talkies.config import DataError, RecipeError
from talkies.config.quoting import shown
from talkies.streams import Grid

KEY = "codecs.sound"
PREPROCESSOR = "preprocessor_config.json"
STRIDE = 320
"""Samples per state: 50 a second."""
FIELD = 400
"""Samples that the first state of wav2vec 2.0 and HuBERT is made from; the fewest that they take."""
HEADS = ("lm_head.", "quantizer.", "project_hid.", "project_q.", "masked_spec_embed", "proj_out.")
"""Beginnings of the names of tensors for training and transcription, which a folder may have besides."""


class SpeechEncoder(ABC):
    """Samples [B, S] at 16 kHz -> features [B, C, T] fp32: the last hidden states of a frozen network, or those of all
    its layers, interpolated to `config.rate` a second. One clip at a time, so that features do not depend on the batch;
    on the input's device. What is encoded is heard as a whole: `long_sound.features` encodes files, and crops."""

    def __init__(self, config: Wav2Vec2Config | HubertConfig | WhisperConfig, network: Any) -> None:
        # In train mode, wav2vec 2.0 masks its input. This encoder is not a Module: train() never reaches the network.
        self.config, self.network = config, network.float().requires_grad_(False).eval()

    @cached_property
    def identity(self) -> str:
        """sha256 over config, weights and what becomes of the sound before; computed once."""
        return identity(self.config, {**self.network.state_dict(), **self._before()})

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self.config.sample_rate

    def grid(self, samples: int) -> Grid:
        """Geometry of the features of `samples` samples; DataError for fewer than a step."""
        return audio_grid(self.config, samples=samples)

    @torch.no_grad()
    def encode(self, samples: Tensor) -> Tensor:
        """Samples [B, S], padded right with silence to whole steps -> features [B, C, T] fp32."""
        steps = self.grid(samples.shape[-1]).shape[0]
        whole = pad(samples.float(), (0, samples_of(self.config, steps) - samples.shape[-1]))
        states = torch.stack([self._states(sound).T for sound in whole.to(self.network.device)])
        features = interpolate(states, size=steps, mode="linear", align_corners=self.config.align_corners)
        return features.to(samples.device)

    def _before(self) -> Mapping[str, Tensor]:
        """What the identity has besides config and weights."""
        return {}

    @abstractmethod
    def _states(self, sound: Tensor) -> Tensor:
        """The states [N, C] of samples [S], 50 a second, or already as many as there are features."""

    def _of_layers(self, encoder: Any, run: Callable[[], Tensor]) -> Tensor:
        """The states [N, C] that the recipe wants, where `run` passes a sound through `encoder` and returns the last
        ones [1, N, D]."""
        return run()[0] if self.config.layers == "last" else all_states(encoder, run)


class WaveEncoder(SpeechEncoder):
    """wav2vec 2.0 (arXiv 2006.11477) or HuBERT (arXiv 2106.07447). `normalised`: sound is brought to mean 0 and
    variance 1 first, as the folder's preprocessor_config.json says; loudness is then lost."""

    def __init__(
        self, config: Wav2Vec2Config | HubertConfig, network: Wav2Vec2Model | HubertModel, *, normalised: bool
    ) -> None:
        super().__init__(config, network)
        self.normalised = normalised

    @classmethod
    def load(
        cls, config: Wav2Vec2Config | HubertConfig, *, key: str = KEY, device: torch.device | str = "cpu"
    ) -> "WaveEncoder":
        """From `config.weights`. RecipeError for a missing folder or another width, DataError for its contents."""
        folder = _folder(config, config.kind, key, f"config.json, {PREPROCESSOR} and *.safetensors")
        normalised = _normalised(folder)
        network = read_transformer(
            Wav2Vec2Model if config.kind == "wav2vec2" else HubertModel,
            folder,
            besides=HEADS,
            dtype=torch.float32,
            mask_time_prob=0.0,  # else the network has a vector for masked steps, which many folders lack
            mask_feature_prob=0.0,
        )
        _check_channels(config, key, network.config.hidden_size, network.config.num_hidden_layers)
        return cls(config, network.to(device), normalised=normalised)

    def _before(self) -> Mapping[str, Tensor]:
        return {"normalised": torch.tensor(self.normalised)}

    def _states(self, sound: Tensor) -> Tensor:
        if self.normalised:
            sound = (sound - sound.mean()) / (sound.var(correction=0) + 1e-7).sqrt()
        heard = pad(sound, (0, max(0, FIELD - len(sound))))
        network, align_corners = self.network, self.config.align_corners
        before = isinstance(self.config, WaveConfig) and self.config.interpolate == "before"
        steps = self.grid(len(sound)).shape[0]
        with resampled(network.feature_extractor, steps, align_corners=align_corners) if before else nullcontext():
            return self._of_layers(network.encoder, lambda: network(heard[None]).last_hidden_state)


class WhisperEncoder(SpeechEncoder):
    """The encoder of Whisper (arXiv 2212.04356): it hears 30 s, of which those beyond the sound are silent."""

    def __init__(self, config: WhisperConfig, network: Any) -> None:
        super().__init__(config, network)
        self._spectrum = WhisperFeatureExtractor(feature_size=network.config.num_mel_bins, chunk_length=_heard(network))

    @classmethod
    def load(cls, config: WhisperConfig, *, key: str = KEY, device: torch.device | str = "cpu") -> "WhisperEncoder":
        """As `WaveEncoder.load`; the decoder is read, too, and left out."""
        folder = _folder(config, config.kind, key, "config.json and *.safetensors")
        network = read_transformer(WhisperModel, folder, besides=HEADS, dtype=torch.float32)
        _check_channels(config, key, network.config.d_model, network.config.encoder_layers)
        if config.longest > (heard := _heard(network)):
            raise RecipeError(
                f"`{key}` hears `piece` {config.piece} + 2 `context` {config.context} = {config.longest} seconds at "
                f"once, the network {heard}: lower one of them"
            )
        return cls(config, network.encoder.to(device))

    def _states(self, sound: Tensor) -> Tensor:
        if len(sound) > self._spectrum.n_samples:
            raise DataError(
                f"{len(sound) / self.sample_rate:g} s of sound, but Whisper hears at most "
                f"{self._spectrum.chunk_length} s at once"
            )
        heard = self._spectrum(np.asarray(sound.cpu()), sampling_rate=self.sample_rate, return_tensors="pt")
        spectrum = heard["input_features"].to(sound.device)
        states = self._of_layers(self.network, lambda: self.network(spectrum).last_hidden_state)
        return states[: -(-len(sound) // STRIDE)]


def _check_channels(config: SpeechConfig, key: str, width: int, layers: int) -> None:
    """RecipeError unless `channels` is what the network's layers have."""
    check_geometry(key, {"channels": (config.channels, width if config.layers == "last" else layers * width)})


def _heard(network: Any) -> int:
    """Seconds that a Whisper hears at once."""
    seconds: int = network.config.max_source_positions * STRIDE // SpeechConfig.sample_rate
    return seconds


def _folder(config: SpeechConfig, kind: str, key: str, holds: str) -> Path:
    """The weights' folder. DataError if it holds another kind of network, whose tensors may have the same names."""
    folder = weights_folder(config.weights, key=f"{key}.weights", holds=f"{holds} of transformers' {kind}")
    found = read_config(folder).get("model_type")
    if found != kind:
        raise DataError(f"{folder}: needed a network of type {kind}, but its config.json names {shown(found)}")
    return folder


def _normalised(folder: Path) -> bool:
    """Whether the network was trained on sound of mean 0 and variance 1. DataError if its folder does not say so, or if
    it was trained at another rate than 16 kHz."""
    values = read_config(folder, PREPROCESSOR)
    normalised, rate = values.get("do_normalize"), values.get("sampling_rate")
    if not isinstance(normalised, bool):
        raise DataError(
            f"{folder / PREPROCESSOR}: `do_normalize` is {shown(normalised)}, needed true or false: whether the "
            "network was trained on normalised sound"
        )
    if rate != SpeechConfig.sample_rate:
        raise DataError(
            f"{folder / PREPROCESSOR}: `sampling_rate` is {shown(rate)}, but only networks for "
            f"{SpeechConfig.sample_rate} Hz can be used"
        )
    return normalised
