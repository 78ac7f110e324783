"""HT-Demucs (arXiv 2211.08553): a sound parted into tracks by the mean of some networks of demucs-infer."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from talkies.codecs.demix_config import DemucsConfig
from talkies.codecs.identity import identity
from talkies.codecs.pretrained import load_strictly, read_config, safetensors_files, weights_folder
from talkies.config import DataError, RecipeError
from talkies.config.plain_json import canonical_json
from talkies.config.quoting import listed

KEY, HOLDS = "codecs.demix", "config.json and *.safetensors of an HT-Demucs"
SHIFT_SEED = 0
"""demucs draws its shifts by Python's global generator; with one seed, the same sound has the same tracks."""


class DemucsDemixer:
    """Samples [S] at 44.1 kHz -> tracks [S] fp32: the mean over the networks, and over their channels, each of which
    hears the sound. On the input's device. `shape`: what config.json says of the networks."""

    def __init__(self, config: DemucsConfig, networks: list[Any], shape: Mapping[str, Any]) -> None:
        self.config, self.shape = config, shape
        self._networks = networks
        self.network = nn.ModuleList(networks).float().requires_grad_(False).eval()

    @classmethod
    def load(cls, config: DemucsConfig, *, key: str = KEY, device: torch.device | str = "cpu") -> "DemucsDemixer":
        """From `config.weights`. RecipeError for a missing extra or folder, or for another number of tracks, DataError
        for the folder's contents."""
        folder = weights_folder(config.weights, key=f"{key}.weights", holds=HOLDS)
        files = _files(folder)
        kind = _network(key)
        shape = read_config(folder)
        networks = [_loaded(kind, shape, path) for path in files]
        _check(networks[0], config, folder, key)
        return cls(config, [network.to(device) for network in networks], shape)

    @cached_property
    def identity(self) -> str:
        """sha256 over config, networks and their config.json; computed once."""
        shape = torch.tensor(list(canonical_json(self.shape).encode()), dtype=torch.uint8)
        return identity(self.config, {**self.network.state_dict(), "config.json": shape})

    @property
    def tracks(self) -> tuple[str, ...]:
        """The names of what the networks find; files hold those of other speakers."""
        return self.config.tracks

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self.config.sample_rate

    @torch.no_grad()
    def demix(self, samples: Tensor) -> dict[str, Tensor]:
        """Every track of a sound."""
        from demucs_infer.apply import apply_model  # noqa: PLC0415 - an extra

        made: list[Tensor] = []
        for network in self._networks:
            heard = samples.float().expand(1, int(network.audio_channels), len(samples))
            with _same_shifts():
                parts = apply_model(network, heard, shifts=self.config.shifts, overlap=self.config.overlap)[0]
            made.append(parts.mean(1))
        return dict(zip(self.tracks, torch.stack(made).mean(0), strict=True))


@contextmanager
def _same_shifts() -> Iterator[None]:
    """Shifts that do not depend on what was drawn before."""
    state = random.getstate()
    random.seed(SHIFT_SEED)
    try:
        yield
    finally:
        random.setstate(state)


def _network(key: str) -> Any:
    """The class of the network. RecipeError if the extra is not installed."""
    try:
        from demucs_infer.htdemucs import HTDemucs  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise RecipeError(
            f"`{key}.kind` is demucs, which needs a package that is not installed ({error.name}): pip install "
            "'talkies[demucs]'"
        ) from None
    return HTDemucs


def _files(folder: Path) -> list[Path]:
    """The weights of each network. DataError if there are none, or only pickles."""
    pickled = sorted(path.name for path in folder.glob("*.th"))
    if pickled and not any(folder.glob("*.safetensors")):
        raise DataError(
            f"{folder}: needed config.json and *.safetensors, found {listed(pickled)}, pickles that may run code: "
            f"`talkies import {folder} --as htdemucs --pickle --out FOLDER` converts them without running it"
        )
    return safetensors_files(folder)


def _loaded(kind: Any, shape: Mapping[str, Any], path: Path) -> Any:
    """A network with the weights of a file."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"cannot read {path}: {error}") from None
    try:
        with torch.random.fork_rng(devices=[]):  # it begins with random weights
            network = kind(**shape)
    except (ArithmeticError, IndexError, RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise DataError(f"{path.parent}: its config.json describes no HT-Demucs: {error}") from None
    load_strictly(network, tensors, path)
    return network


def _check(network: Any, config: DemucsConfig, folder: Path, key: str) -> None:
    if network.samplerate != config.sample_rate:
        raise DataError(
            f"{folder}: its network hears sound at {network.samplerate} Hz, needed one for {config.sample_rate}"
        )
    if len(network.sources) != len(config.tracks):
        raise RecipeError(
            f"`{key}.tracks` names {listed(config.tracks)}, but the network in {folder} makes "
            f"{len(network.sources)}: {listed(network.sources)}; name each of them, in this order"
        )
