"""The identity of a pretrained codec without the codec: its tensors are read one at a time, never all at once.

It equals the `identity` of the loaded codec, because it hashes the same tensors in the same dtypes.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from talkies.codecs.identity import identity
from talkies.codecs.load import token_encoder, video_vae_kind
from talkies.codecs.pretrained import check_geometry, check_shapes, only_file
from talkies.codecs.weight_norm import folded, weight_norm_pairs
from talkies.config import DataError

Shapes = Mapping[str, tuple[int, ...]]


class Streamed(Mapping[str, Tensor]):
    """Tensors by name, each made when it is asked for, and not kept."""

    def __init__(self, makers: Mapping[str, Callable[[], Tensor]]) -> None:
        self._makers = makers

    def __getitem__(self, name: str) -> Tensor:
        return self._makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


Stored = Callable[[Path], tuple[Streamed, Shapes]]
"""The tensors that a folder's safetensors files hold, and their shapes."""


def streamed_identity(config: Any, stored: Stored, *, key: str) -> str:
    """What `identity` of the codec in `config.weights` is. Raises as its `load` does."""
    if config.medium == "text":
        return _text(config, stored, key)
    return _dac(config, stored, key) if config.medium == "audio" else _video(config, stored, key)


def _video(config: Any, stored: Stored, key: str) -> str:
    kind = video_vae_kind(config)
    network, folder = kind.skeleton(config, key=key)
    only_file(folder)
    tensors, shapes = stored(folder)
    check_shapes(network, shapes, folder)
    mean, std = kind.statistics(network)
    makers = {name: partial(_wide, tensors, name) for name in tensors}
    return identity(config, Streamed({**makers, "latents_mean": lambda: mean, "latents_std": lambda: std}))


def _dac(config: Any, stored: Stored, key: str) -> str:
    from talkies.codecs.mova_dac import MovaAudioCodec  # noqa: PLC0415

    network, folder = MovaAudioCodec.skeleton(config, key=key)
    only_file(folder)
    tensors, shapes = stored(folder)
    pairs = weight_norm_pairs(shapes)
    check_shapes(network, {name: shapes[parts[0]] for name, parts in pairs.items()}, folder)
    weights = Streamed({name: partial(folded, tensors, parts) for name, parts in pairs.items()})
    return identity(config, Streamed({name: partial(_wide, weights, name) for name in weights}))


def _wide(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """In fp32, in which a codec is loaded."""
    return tensors[name].float()


def _text(config: Any, stored: Stored, key: str) -> str:
    from talkies.codecs.token_text import TOKENIZER, check_kind, identifying, ids_of  # noqa: PLC0415 - imports tokenizers

    encoding = token_encoder(config)
    kind, folder = encoding.model, Path(config.weights)
    spelled = encoding.tokenizer(folder)
    encoder = folder / "text_encoder"
    check_kind(encoder, kind)
    try:
        values = kind.config_class.from_pretrained(encoder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {encoder / 'config.json'}: {error}") from None
    if spelled is not None:
        ids_of(spelled, folder / TOKENIZER, vocabulary=values.vocab_size)
    check_geometry(key, {"dim": (config.dim, values.d_model)})
    with torch.device("meta"):
        network = kind(values)
    tensors, shapes = stored(encoder)
    names = _tied(network, shapes)
    check_shapes(network, {**shapes, **{name: shapes[held] for name, held in names.items()}}, encoder)
    dtypes = _dtypes(network, tensors)
    makers = {name: partial(_as, tensors, held, dtypes[name]) for name, held in names.items()}
    tokens = identifying(spelled)
    return identity(config, Streamed({**makers, **{name: partial(tokens.__getitem__, name) for name in tokens}}))


def _tied(network: Any, shapes: Shapes) -> dict[str, str]:
    """Name in the network -> the one in the file: its own, or that of the weight which it shares."""
    shared: dict[str, str] = dict(network._tied_weights_keys)
    mates = {**shared, **{held: name for name, held in shared.items()}}
    found = {}
    for name in network.state_dict():
        held = name if name in shapes else mates.get(name)
        if held is not None and held in shapes:
            found[name] = held
    return found


def _dtypes(network: Any, tensors: Streamed) -> dict[str, torch.dtype]:
    """As transformers loads with dtype="auto": that of config.json, or else of the first weights in the file; what a
    class keeps in fp32 has that dtype where the others are fp16."""
    stated = network.config.dtype
    dtype = stated if stated is not None else next(t.dtype for t in tensors.values() if t.is_floating_point())
    wide = set(network._keep_in_fp32_modules or ()) if dtype == torch.float16 else set()
    return {name: torch.float32 if wide & {*name.split(".")} else dtype for name in _names(network)}


def _names(network: nn.Module) -> list[str]:
    return [*network.state_dict()]


def _as(tensors: Mapping[str, Tensor], name: str, dtype: torch.dtype) -> Tensor:
    return tensors[name].to(dtype)
