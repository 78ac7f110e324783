"""ByT5: tokens are bytes, as transformers' own tokenizer makes them; padding and length as T5's."""

import json
from pathlib import Path

import pytest
import torch
from small_codecs import spelled_tokenizer, t5
from transformers import ByT5Tokenizer

from talkies.codecs.byt5 import ByT5TextEncoder
from talkies.codecs.config import ByT5TextConfig
from talkies.codecs.load import load_codecs
from talkies.codecs.token_text import byte_ids
from talkies.config import DataError, RecipeError

VOCABULARY = 384
CONFIG = ByT5TextConfig(dim=32, length=64)
SCRIPTS = [
    "Hello, you.",
    "\u0928\u092e\u0938\u094d\u0924\u0947",  # Devanagari
    "\u4f60\u597d\uff0c\u4e16\u754c",  # Chinese
    "\u0645\u0631\u062d\u0628\u0627",  # Arabic
    "[S1] \U0001f44b\U0001f3fd\u200d\U0001f4ac [S2] e\u0301\tok",  # emoji, a combining accent
]


def encoder(length: int = 64) -> ByT5TextEncoder:
    return ByT5TextEncoder(ByT5TextConfig(dim=32, length=length), t5(VOCABULARY), None)


@pytest.mark.parametrize("script", SCRIPTS)
def test_tokens_are_those_of_transformers(script: str) -> None:
    assert byte_ids(script) == ByT5Tokenizer()(script).input_ids
    assert len(byte_ids(script)) == len(script.encode()) + 1


def test_what_looks_special_is_read_as_letters() -> None:
    assert byte_ids("a</s>b") == [100, 63, 50, 118, 65, 101, 1]
    assert ByT5Tokenizer()("a</s>b").input_ids == [100, 1, 101, 1]


@pytest.mark.parametrize("script", SCRIPTS)
def test_features_are_those_of_the_bytes_alone(script: str) -> None:
    """Padding takes no part in attention, and is zero."""
    text = encoder().encode(["a", script])
    ids = torch.tensor([ByT5Tokenizer()(script).input_ids])
    hidden = t5(VOCABULARY).eval()(input_ids=ids).last_hidden_state[0]
    assert text.embedding.shape == (2, 64, 32)
    assert text.length.tolist() == [2, ids.shape[1]]
    torch.testing.assert_close(text.embedding[1, : ids.shape[1]], hidden, atol=1e-5, rtol=1e-5)
    assert not text.embedding[1, ids.shape[1] :].any()


def test_an_empty_script_has_no_tokens() -> None:
    text = encoder().encode(["", " \n"])
    assert text.length.tolist() == [0, 0]
    assert not text.embedding.any()


def test_a_long_script_is_cut_and_keeps_its_end() -> None:
    made = encoder(8)
    assert (made.overflow("a" * 8), made.overflow("a" * 7), made.overflow("")) == (1, 0, 0)
    text = made.encode(["abcdefghij", "abcdefg"])
    assert text.length.tolist() == [8, 8]
    assert torch.equal(text.embedding[0], text.embedding[1])


def test_loads_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    t5(VOCABULARY).save_pretrained(tmp_path / "text_encoder")
    config = ByT5TextConfig(dim=32, length=64, weights=str(tmp_path))
    loaded = load_codecs({"text": config}, None).text["text"]
    made = encoder()
    assert torch.equal(loaded.encode(SCRIPTS).embedding, made.encode(SCRIPTS).embedding)
    assert loaded.identity == made.identity != encoder(8).identity
    ByT5Tokenizer().save_pretrained(tmp_path / "tokenizer")
    assert load_codecs({"text": config}, None).text["text"].identity == made.identity


def test_errors_name_what_to_change(tmp_path: Path) -> None:
    t5(VOCABULARY).save_pretrained(tmp_path / "text_encoder")
    with pytest.raises(RecipeError, match=r"`codecs\.text\.dim` is 1472, the weights have 32"):
        load_codecs({"text": ByT5TextConfig(weights=str(tmp_path))}, None)
    with pytest.raises(RecipeError, match=r"`codecs\.text\.weights` is not set: .*text_encoder/ .*google/byt5-small"):
        load_codecs({"text": ByT5TextConfig()}, None)
    given = ByT5TextConfig(dim=32, weights=str(tmp_path))
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.json").write_text(spelled_tokenizer())
    with pytest.raises(DataError, match=r"tokenizer_config\.json"):
        load_codecs({"text": given}, None)
    (tmp_path / "tokenizer" / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T5Tokenizer"}))
    with pytest.raises(DataError, match=r"needed a ByT5Tokenizer, but its .* names 'T5Tokenizer'"):
        load_codecs({"text": given}, None)
    t5(100).save_pretrained(tmp_path / "words" / "text_encoder")
    with pytest.raises(DataError, match="text_encoder/ has 100 tokens, and a ByT5 at least 259"):
        load_codecs({"text": ByT5TextConfig(dim=32, weights=str(tmp_path / "words"))}, None)
