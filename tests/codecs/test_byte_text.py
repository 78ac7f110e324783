"""Byte-level text features."""

import hashlib
import tracemalloc

import pytest
import torch

from talkies.codecs.byte_text import ByteTextEncoder, word_feature
from talkies.codecs.config import ByteTextConfig
from talkies.config import RecipeError

ENCODER = ByteTextEncoder(ByteTextConfig())


def cosine(a: str, b: str) -> float:
    return float(word_feature(a, 512) @ word_feature(b, 512)) / 512


def test_shape_length_and_zeros_past_it() -> None:
    text = ENCODER.encode(["a red face", "an old green one is shouting"])
    assert text.embedding.shape == (2, 24, 64)
    assert text.embedding.dtype == torch.float32
    assert text.length.tolist() == [3, 6]
    assert not text.embedding[0, 3:].any()
    assert text.embedding[1, 5].any()


def test_every_word_has_unit_variance_per_dimension() -> None:
    text = ENCODER.encode(["a red face speaks"])
    assert torch.allclose(text.embedding[0, :4].square().mean(-1), torch.ones(4))


def test_order_matters_and_batches_do_not() -> None:
    both = ENCODER.encode(["low voice", "voice low"]).embedding
    assert torch.equal(both[0, 0], both[1, 1])
    assert not torch.equal(both[0], both[1])
    assert torch.equal(ENCODER.encode(["voice low"]).embedding[0], both[1])


def test_the_empty_caption_is_a_real_token() -> None:
    text = ENCODER.encode(["", "  \n"])
    assert text.length.tolist() == [1, 1]
    assert torch.equal(text.embedding[0], text.embedding[1])
    assert torch.allclose(text.embedding[0, 0].square().mean(), torch.ones(()))


def test_spelling_alike_means_feature_alike() -> None:
    assert cosine("shouting", "shouts") > 0.3
    assert abs(cosine("red", "blue")) < 0.2


def test_features_are_the_same_on_every_machine() -> None:
    """Golden hash: no generator, no hash seed, no platform enters."""
    digest = hashlib.sha256(word_feature("talkies", 64).tobytes()).hexdigest()
    assert digest.startswith("2a725e28e292e122")


def test_wide_and_narrow_dimensions() -> None:
    wide = word_feature("wide", 1200)
    assert wide.shape == (1200,)
    assert len({wide[:512].tobytes(), wide[512:1024].tobytes()}) == 2
    assert abs(word_feature("x", 1)[0]) == 1


def test_overflow_counts_words_and_cuts_the_tail() -> None:
    encoder = ByteTextEncoder(ByteTextConfig(length=3))
    assert encoder.overflow("one two three") == 0
    assert encoder.overflow("one two three four five") == 2
    assert torch.equal(
        encoder.encode(["one two three four five"]).embedding, encoder.encode(["one two three"]).embedding
    )


def test_identity_follows_the_config() -> None:
    assert ENCODER.identity == ByteTextEncoder(ByteTextConfig()).identity
    assert ENCODER.identity != ByteTextEncoder(ByteTextConfig(length=8)).identity


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ENCODER.encode([])
    with pytest.raises(RecipeError, match=r"codecs\.text"):
        ByteTextEncoder(ByteTextConfig(length=0))


def test_a_word_as_long_as_a_caption_may_be_takes_little() -> None:
    """One n-gram at a time: 65,536 letters once took 130,000 vectors at once."""
    tracemalloc.start()
    word_feature("ab" * 32768, 512)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6
