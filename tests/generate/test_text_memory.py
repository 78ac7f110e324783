"""Every text is encoded once, whatever is made of it, with the same features."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from listening import FPS, Lit, listener, samples
from lossless import Obedient, generator

from talkies.codecs.byte_text import ByteTextEncoder
from talkies.codecs.config import ByteTextConfig
from talkies.flow.config import SamplingConfig, WindowsConfig
from talkies.generate.clip import generate
from talkies.generate.model import Generator
from talkies.generate.request import Request
from talkies.generate.text_memory import TextMemory
from talkies.generate.windows import generate_long, windows_for
from talkies.streams.batch import Text

TEXT = ByteTextEncoder(ByteTextConfig(dim=8, length=4))
GUIDED = SamplingConfig(steps=2, scales={"text": 3.0})


class Counted(ByteTextEncoder):
    """An encoder that lists what it encodes."""

    def __init__(self) -> None:
        super().__init__(TEXT.config)
        self.seen: list[str] = []

    def encode(self, captions: list[str]) -> Text:
        self.seen += captions
        return super().encode(captions)


def counted(model: Generator) -> tuple[Generator, Counted]:
    encoder = Counted()
    return replace(model, codecs=replace(model.codecs, text={"text": encoder})), encoder


def requests(texts: Mapping[str, str]) -> list[Request]:
    return [Request(prompts={"text": text}, id=name, negative={"text": "blurred"}) for name, text in texts.items()]


def test_features_are_those_of_the_encoder() -> None:
    memory, captions = TextMemory(), ["a red face", "", "a face", "a red face", "one two three four five"]
    for _ in range(2):
        found, wanted = memory.encoded("text", TEXT, captions), TEXT.encode(captions)
        assert torch.equal(found.embedding, wanted.embedding)
        assert torch.equal(found.length, wanted.length)


def test_a_prompt_is_encoded_once_for_all_clips() -> None:
    model, encoder = counted(generator(Obedient()))
    generate(model, requests({"a": "a face", "b": "a mask", "c": "a face"}), GUIDED, seed=0)
    generate(model, requests({"d": "a mask", "e": "a cat"}), GUIDED, seed=0)
    assert sorted(encoder.seen) == ["a cat", "a face", "a mask", "blurred"]


def test_a_prompt_is_encoded_once_for_all_windows() -> None:
    model, encoder = counted(listener(Lit()))
    request = replace(requests({"a": "a face"})[0], given={"audio": torch.zeros(samples(41))})
    sampling = replace(GUIDED, windows=WindowsConfig(overlap=3 / FPS))
    windows = windows_for(model, request, sampling)
    assert windows is not None
    frames = torch.cat(list(generate_long(model, request, sampling, windows=windows, seed=0)))
    assert (len(windows.begins), len(frames)) == (7, 41)
    assert sorted(encoder.seen) == ["a face", "blurred"]


@pytest.mark.parametrize(("limit", "again"), [(4 * 32, []), (3 * 32, ["b b"]), (32, ["a", "c", "b b"])])
def test_what_was_not_used_for_longest_is_forgotten(limit: int, again: list[str]) -> None:
    """Bytes of the words' features alone."""
    encoder, memory = Counted(), TextMemory(limit)
    for caption in ("b b", "a", "c"):
        memory.encoded("text", encoder, [caption])
    encoder.seen.clear()
    for caption in ("a", "c", "b b"):
        found = memory.encoded("text", encoder, [caption])
        assert torch.equal(found.embedding, TEXT.encode([caption]).embedding)
    assert encoder.seen == again


def test_codecs_are_told_apart() -> None:
    wide, memory = ByteTextEncoder(ByteTextConfig(dim=16, length=3)), TextMemory()
    for name, encoder in (("a", TEXT), ("b", wide), ("a", TEXT)):
        assert torch.equal(memory.encoded(name, encoder, ["x"]).embedding, encoder.encode(["x"]).embedding)
