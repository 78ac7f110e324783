"""T5 as Mochi 1 takes it: 256 tokens, padding out of attention, nothing for an empty caption."""

from pathlib import Path

import torch
from small_codecs import spelled_tokenizer, t5

from talkies.codecs.config import T5TextConfig
from talkies.codecs.load import load_codecs
from talkies.codecs.t5 import T5TextEncoder

CONFIG = T5TextConfig(dim=32)


def test_padding_takes_no_part_in_attention() -> None:
    made = t5()
    text = T5TextEncoder(CONFIG, made, spelled_tokenizer()).encode(["a red  face "])
    assert (text.embedding.shape, text.length.tolist()) == ((1, 256, 32), [5])
    ids = torch.tensor([[4, 5, 3, 6, 1]])  # inner space is kept
    made.eval()
    torch.testing.assert_close(text.embedding[0, :5], made(input_ids=ids).last_hidden_state[0], atol=1e-5, rtol=1e-5)
    assert not text.embedding[0, 5:].any()


def test_an_empty_caption_has_no_tokens() -> None:
    text = T5TextEncoder(CONFIG, t5(), spelled_tokenizer()).encode(["", " \n", "a"])
    assert text.length.tolist() == [0, 0, 2]
    assert not text.embedding[:2].any()


def test_a_long_caption_is_cut_to_256_tokens_and_keeps_its_end() -> None:
    encoder = T5TextEncoder(CONFIG, t5(), spelled_tokenizer())
    long, whole = " ".join(["red"] * 300), " ".join(["red"] * 255)
    assert (encoder.overflow(long), encoder.overflow(whole)) == (45, 0)
    text = encoder.encode([long, whole])
    assert text.length.tolist() == [256, 256]
    assert torch.equal(text.embedding[0], text.embedding[1])


def test_loads_a_folder(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.json").write_text(spelled_tokenizer())
    t5().save_pretrained(tmp_path / "text_encoder")
    config = T5TextConfig(dim=32, weights=str(tmp_path))
    loaded = load_codecs({"text": config}, None).text["text"]
    made = T5TextEncoder(CONFIG, t5(), spelled_tokenizer())
    assert torch.equal(loaded.encode(["a red face"]).embedding, made.encode(["a red face"]).embedding)
    assert loaded.identity == made.identity
    assert loaded.identity != T5TextEncoder(T5TextConfig(dim=32, length=8), t5(), spelled_tokenizer()).identity
    (tmp_path / "text_encoder" / "model.safetensors").unlink()
    other = t5()
    with torch.no_grad():
        other.shared.weight.add_(1)
    other.save_pretrained(tmp_path / "text_encoder")
    assert load_codecs({"text": config}, None).text["text"].identity != made.identity
