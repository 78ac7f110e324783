"""UMT5 behind the text protocol, at small random weights, with a tokenizer built here."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_codecs import spelled_tokenizer, umt5
from transformers import UMT5Config, UMT5EncoderModel

from talkies.codecs.config import Umt5TextConfig
from talkies.codecs.prompt import clean_prompt
from talkies.codecs.umt5 import Umt5TextEncoder
from talkies.config import DataError, RecipeError

CONFIG = Umt5TextConfig(dim=32, length=8)


def written(folder: Path) -> Umt5TextConfig:
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "tokenizer" / "tokenizer.json").write_text(spelled_tokenizer())
    umt5().save_pretrained(folder / "text_encoder")
    return Umt5TextConfig(weights=str(folder), dim=32, length=8)


def test_full_size_parameter_count() -> None:
    with torch.device("meta"):
        made = UMT5EncoderModel(
            UMT5Config(vocab_size=256384, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64)
        )
    assert sum(p.numel() for p in made.parameters()) == 5_680_910_336


@pytest.mark.parametrize(
    ("given", "cleaned"),
    [
        ("  a\tred \n face  ", "a red face"),
        ("salt &amp;amp; pepper", "salt & pepper"),
        ("&lt;b&gt;", "<b>"),
        ("schÃ¶n", "schön"),
        ("", ""),
    ],
)
def test_cleaning(given: str, cleaned: str) -> None:
    assert clean_prompt(given) == cleaned


def test_features_are_the_last_hidden_state_and_zero_past_the_length() -> None:
    made = umt5()
    text = Umt5TextEncoder(CONFIG, made, spelled_tokenizer()).encode([" a  red face", ""])
    assert text.embedding.shape == (2, 8, 32)
    assert text.length.tolist() == [4, 1]
    ids = torch.tensor([[4, 5, 6, 1, 0, 0, 0, 0]])
    hidden = made(input_ids=ids, attention_mask=(ids > 0).long()).last_hidden_state.detach()
    assert torch.equal(text.embedding[0, :4], hidden[0, :4])
    assert hidden[0, 4:].any()
    assert not text.embedding[0, 4:].any()
    assert not text.embedding[1, 1:].any()
    assert text.embedding[1, 0].any()


def test_dropout_is_off_whatever_mode_the_model_was_in() -> None:
    made = umt5().train()
    encoder = Umt5TextEncoder(CONFIG, made, spelled_tokenizer())
    assert torch.equal(encoder.encode(["a red face"]).embedding, encoder.encode(["a red face"]).embedding)
    made.train()
    assert not torch.equal(encoder.encode(["a red face"]).embedding, encoder.encode(["a red face"]).embedding)


def test_features_do_not_depend_on_the_batch() -> None:
    encoder = Umt5TextEncoder(CONFIG, umt5(), spelled_tokenizer())
    batched = encoder.encode(["a face", "a red face speaks", "speaks"]).embedding
    assert torch.equal(batched[1:2], encoder.encode(["a red face speaks"]).embedding)


def test_a_long_caption_keeps_its_end_and_its_overflow_is_counted() -> None:
    encoder = Umt5TextEncoder(CONFIG, umt5(), spelled_tokenizer())
    assert encoder.overflow("a red face speaks a red face") == 0
    long = "a red face speaks a red face a red"
    assert encoder.overflow(long) == 2
    text = encoder.encode([long, "a red face speaks a red face"])
    assert text.length.tolist() == [8, 8]
    assert torch.equal(text.embedding[0], text.embedding[1])


def test_loads_a_folder_and_keeps_its_precision(tmp_path: Path) -> None:
    config = written(tmp_path)
    encoder = Umt5TextEncoder.load(config)
    expected = Umt5TextEncoder(CONFIG, umt5(), spelled_tokenizer())
    assert torch.equal(encoder.encode(["a red face"]).embedding, expected.encode(["a red face"]).embedding)
    assert encoder.identity == expected.identity
    umt5().bfloat16().save_pretrained(tmp_path / "text_encoder")
    half = Umt5TextEncoder.load(config)
    assert half.network.dtype == torch.bfloat16
    assert half.encode(["a red face"]).embedding.dtype == torch.float32
    assert half.identity != encoder.identity


def test_identity_follows_the_tokenizer() -> None:
    first = Umt5TextEncoder(CONFIG, umt5(), spelled_tokenizer())
    spelled = json.loads(spelled_tokenizer())
    spelled["model"]["vocab"][5][0] = "▁blue"
    assert Umt5TextEncoder(CONFIG, umt5(), json.dumps(spelled)).identity != first.identity


def test_errors_name_what_to_change(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"`codecs\.text\.weights` is not set.*tokenizer\.json"):
        Umt5TextEncoder.load(Umt5TextConfig())
    config = written(tmp_path)
    with pytest.raises(RecipeError, match=r"`codecs\.text\.dim` is 4096, the weights have 32"):
        Umt5TextEncoder.load(Umt5TextConfig(weights=config.weights))
    with pytest.raises(DataError, match="adds 0 tokens"):
        Umt5TextEncoder(CONFIG, umt5(), spelled_tokenizer(ends=False))
    with pytest.raises(DataError, match="describes no tokenizer"):
        Umt5TextEncoder(CONFIG, umt5(), "{}")
    with pytest.raises(ValueError, match="at least 1"):
        Umt5TextEncoder(CONFIG, umt5(), spelled_tokenizer()).encode([])


def test_a_missing_tensor_is_refused_and_not_filled_at_random(tmp_path: Path) -> None:
    config = written(tmp_path)
    path = tmp_path / "text_encoder" / "model.safetensors"
    state = load_file(path)
    name = next(key for key in state if key.endswith("wo.weight"))
    del state[name]
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(DataError, match=f"missing keys: {name}"):
        Umt5TextEncoder.load(config)


def test_a_missing_tokenizer_says_how_to_make_one(tmp_path: Path) -> None:
    config = written(tmp_path)
    (tmp_path / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"spiece\.model.*save it again"):
        Umt5TextEncoder.load(config)
