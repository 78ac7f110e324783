"""T5 as CogVideoX takes it: padding is attended to, and kept."""

from typing import Any

import pytest
import torch
from diffusers import CogVideoXPipeline
from small_codecs import spelled_tokenizer, t5
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from talkies.codecs.config import T5TextConfig
from talkies.codecs.t5 import T5TextEncoder

CONFIG = T5TextConfig(dim=32, length=226, padding="encoded")


def encoder(config: T5TextConfig = CONFIG) -> T5TextEncoder:
    return T5TextEncoder(config, t5(), spelled_tokenizer())


def diffusers(caption: str) -> Tensor:
    """What the pipeline makes of it [226, 32]."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(spelled_tokenizer()), pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    parts: dict[str, Any] = {"vae": None, "transformer": None, "scheduler": None}
    pipeline = CogVideoXPipeline(tokenizer=tokenizer, text_encoder=t5().eval(), **parts)
    with torch.no_grad():
        found, _ = pipeline.encode_prompt(caption, do_classifier_free_guidance=False, device=torch.device("cpu"))
    return found[0]


@pytest.mark.parametrize("caption", ["", "a red face", "a red  face speaks", " ".join(["red"] * 300)])
def test_features_are_those_of_diffusers_pipeline(caption: str) -> None:
    text = encoder().encode([caption])
    assert (text.embedding.shape, text.length.tolist()) == ((1, 226, 32), [226])
    torch.testing.assert_close(text.embedding[0], diffusers(caption), atol=1e-6, rtol=1e-6)


def test_padding_is_attended_to_and_kept() -> None:
    captions = ["a red face", "a"]
    with_padding, without = encoder().encode(captions), encoder(T5TextConfig(dim=32, length=226)).encode(captions)
    assert (with_padding.length.tolist(), without.length.tolist()) == ([226, 226], [4, 2])
    assert bool(with_padding.embedding.abs().sum(-1).all())
    assert (with_padding.embedding[1, :2] - without.embedding[1, :2]).abs().max() > 1e-3


def test_it_is_another_codec_and_counts_the_same_tokens() -> None:
    plain = T5TextConfig(dim=32, length=226)
    assert encoder().identity != encoder(plain).identity
    long = " ".join(["red"] * 300)
    assert encoder().overflow(long) == encoder(plain).overflow(long) == 75
    assert encoder().overflow("") == encoder(plain).overflow("") == 0
