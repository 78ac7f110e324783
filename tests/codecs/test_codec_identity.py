"""Identity changes with everything that changes a codec, and with nothing else."""

import torch

from talkies.codecs.config import LinearVideoConfig, MovaAudioConfig
from talkies.codecs.identity import identity

CONFIG = LinearVideoConfig()
TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2, dtype=torch.int64)}


def test_is_a_sha256_and_ignores_order_and_layout() -> None:
    first = identity(CONFIG, TENSORS)
    assert len(bytes.fromhex(first)) == 32
    transposed = {"b": TENSORS["b"], "a": TENSORS["a"].T.contiguous().T}
    assert identity(CONFIG, transposed) == first


def test_changes_with_config_name_type_shape_and_bytes() -> None:
    a, b = TENSORS["a"], TENSORS["b"]
    seen = {
        identity(CONFIG, TENSORS),
        identity(LinearVideoConfig(channels=8), TENSORS),
        identity(CONFIG, {"a": a, "c": b}),
        identity(CONFIG, {"a": a.double(), "b": b}),
        identity(CONFIG, {"a": a.reshape(3, 2), "b": b}),
        identity(CONFIG, {"a": a.flip(0), "b": b}),
        identity(CONFIG, {"a": a}),
    }
    assert len(seen) == 7


def test_types_without_a_numpy_counterpart_and_scalars_work() -> None:
    half = {"a": torch.ones(3, dtype=torch.bfloat16), "n": torch.tensor(2)}
    assert identity(CONFIG, half) != identity(CONFIG, {**half, "n": torch.tensor(3)})


def test_the_place_of_the_weights_does_not_matter() -> None:
    assert identity(MovaAudioConfig(weights="/a"), TENSORS) == identity(MovaAudioConfig(weights="/b"), TENSORS)
