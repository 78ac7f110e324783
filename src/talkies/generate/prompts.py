"""What `talkies sample` is asked for: one clip by its options, or a file of many, a line each."""

import json
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from talkies.config import DataError, RecipeError
from talkies.config.plain_json import plain_json
from talkies.config.quoting import listed, named, shown
from talkies.config.regular_files import open_regular, regular_bytes
from talkies.generate.wording import WORDING, caption_of, check_text

TRACKS = ("speech", "speech2", "effects", "music")
"""The tracks of a sound that may be given as files."""
SOUNDS = frozenset({"audio", *TRACKS})
"""What is given to make a video for it."""
MEDIA = ("image", "audio", "video", "voice", *TRACKS)
KEYS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("prompt", "negative", *MEDIA, *WORDING), str),
    "seconds": (int, float),
    "consent": str,
    "seed": int,
    "name": str,
}
KINDS = {str: "text", int: "an integer"}
"""What messages call a type."""
LONGEST_NOTE = 1000
"""Characters of a consent."""
LIMIT = 64 << 20
"""The most bytes of a file of prompts."""
SEEDS = 2**63
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SLUG = 40
"""The most letters of a prompt in the name of its clip."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A clip that is asked for: its texts, the `files` that are given by medium, and the seed of its noise, which
    depends on the `name`, too. `worded`: the parts of the prompt that are given apart; `seconds`: how long it lasts,
    unless that follows from the rest; `consent`: what allows to clone the voice that is given. `where`: the line that
    asks for it; None: the command line of `verb` does, whose `arguments` have other names than --KEY."""

    name: str
    prompt: str | None
    negative: str | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    seed: int = 0
    worded: tuple[str, ...] = ()
    seconds: float | None = None
    consent: str | None = None
    where: str | None = None
    verb: str = "sample"
    arguments: Mapping[str, str] = field(default_factory=dict)

    def option(self, key: str) -> str:
        """A key, as messages call it."""
        return self.arguments.get(key, f"--{key}") if self.where is None else f"{self.where}: `{key}`"

    def _key(self, key: str) -> str:
        """A key that stands beside another one of the same clip."""
        return self.option(key) if self.where is None else f"`{key}`"

    def at(self, key: str) -> str:
        """What a message on a key begins with."""
        return f"{self.verb}: {self.option(key)}"

    def check(self) -> None:
        """RecipeError for a text that is missing, empty, too long or not UTF-8."""
        if self.prompt is not None:
            check_text(self.at("prompt"), self.prompt, empty="describe what is seen and heard")
        elif not self.files.keys() & SOUNDS:
            tracks = ", ".join(self._key(track) for track in TRACKS)
            raise RecipeError(
                f"{self.at('prompt')} is missing: describe what is seen and heard, or, for a model that speaks, give "
                f"{self._key('script')} or {self._key('describe')}, or, for one that follows a sound, "
                f"{self._key('audio')} or its tracks ({tracks})"
            )
        if self.negative is not None:
            empty = "drop it, since the default is the empty prompt"
            check_text(self.at("negative"), self.negative, empty=empty)
        if self.consent is not None:
            self._check_consent(self.consent)

    def _check_consent(self, note: str) -> None:
        option = self.at("consent")
        if "voice" not in self.files:
            raise RecipeError(f"{option} is for the voice of {self.option('voice')}: give one, or drop it")
        check_text(option, note, empty="say who allows to clone the voice")
        if len(note) > LONGEST_NOTE or not note.isprintable():
            needed = f"one line of at most {LONGEST_NOTE:,} characters"
            raise RecipeError(f"{option} is {shown(note)}: give {needed}")


def read_prompts(path: Path, *, seed: int, negative: str | None, consent: str | None = None) -> list[Asked]:
    """The clips that a file asks for: JSON Lines if it ends in .jsonl, else a prompt in every line that is not empty
    and does not begin with #. `seed` and `negative`: of the lines that have none; `consent`: of those with a voice that
    have none.

    Raises RecipeError, with the number of the line, for what it cannot mean, DataError for a file that is not there.
    """
    asked: list[Asked] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(_lines(path), 1):
        where = f"{path} line {number}"
        values = _values(path, line, where)
        if values is None:
            continue
        one = _asked(values, where, len(asked) + 1, path.parent, seed=seed, negative=negative, consent=consent)
        one.check()
        if (before := lines.setdefault(one.name.casefold(), number)) != number:
            raise RecipeError(f"sample: {where}: the name {shown(one.name)} is that of line {before}: give another")
        asked.append(one)
    if not asked:
        raise RecipeError(f"sample: {path} holds no prompts: give one a line")
    return asked


def _lines(path: Path) -> list[bytes]:
    try:
        return regular_bytes(path, LIMIT).removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise RecipeError(f"sample: cannot read the prompts {path}: {error.strerror}; give another file") from None


def _values(path: Path, line: bytes, where: str) -> dict[str, Any] | None:
    """What a line says; None if it says nothing."""
    if not line.strip():
        return None
    if path.suffix == ".jsonl":
        try:
            values = json.loads(plain_json(line))
        except ValueError as error:
            raise RecipeError(f"sample: {where}: {str(error).removesuffix(' in line 1')}") from None
        if not isinstance(values, dict):
            raise RecipeError(f'sample: {where}: found {shown(values)}, needed an object such as {{"prompt": "..."}}')
        return values
    try:
        text = line.decode().strip()
    except UnicodeDecodeError as error:
        raise RecipeError(f"sample: {where} is not UTF-8 at byte {error.start}: encode the file as UTF-8") from None
    if text.startswith("{"):
        raise RecipeError(f"sample: {where} looks like JSON: let the file's name end in .jsonl")
    return None if text.startswith("#") else {"prompt": text}


def _asked(
    values: dict[str, Any],
    where: str,
    number: int,
    folder: Path,
    *,
    seed: int,
    negative: str | None,
    consent: str | None,
) -> Asked:
    if unknown := sorted(values.keys() - KEYS.keys()):
        raise RecipeError(f"sample: {where}: unknown key `{named(unknown[0])}`; known: {listed([*KEYS])}")
    for key, value in values.items():
        _check_type(key, value, where)
    if not 0 <= values.get("seed", seed) < SEEDS:
        raise RecipeError(f"sample: {where}: `seed` is {shown(values['seed'])}; give 0 to {SEEDS - 1}")
    worded = {part: values[part] for part in WORDING if part in values}
    prompt = _prompt(worded, values, where)
    name = values.get("name", f"{number:04d}{_slug(next(iter(worded.values()), prompt) or '')}")
    if not NAME.fullmatch(name):
        raise RecipeError(
            f"sample: {where}: `name` is {shown(name)}; it names a file: give up to 100 ASCII letters, digits, dots, "
            "dashes and underscores, a letter or digit first"
        )
    return Asked(
        name=name,
        prompt=prompt,
        negative=values.get("negative", negative),
        files={key: _file(folder, values[key], f"{where}: `{key}`") for key in MEDIA if key in values},
        seed=values.get("seed", seed),
        worded=tuple(worded),
        seconds=values.get("seconds"),
        consent=values.get("consent", consent if "voice" in values else None),
        where=where,
    )


def _check_type(key: str, value: object, where: str) -> None:
    wanted = KEYS[key]
    if type(value) not in (wanted if isinstance(wanted, tuple) else (wanted,)):
        kind = "a number" if isinstance(wanted, tuple) else KINDS[wanted]
        raise RecipeError(f"sample: {where}: `{key}` is {shown(value)}; needed {kind}")


def _prompt(worded: Mapping[str, str], values: Mapping[str, Any], where: str) -> str | None:
    """The prompt of a line, or that of the parts that it gives apart."""
    if not worded:
        return values.get("prompt")
    if "prompt" in values:
        raise RecipeError(f"sample: {where}: `prompt` and `{next(iter(worded))}` both say what to make: give one")
    return caption_of(worded, {part: f"sample: {where}: `{part}`" for part in worded})


def _file(folder: Path, value: str, option: str) -> Path:
    """The file that a line names; RecipeError if it names none, DataError if it is not there."""
    if not value.strip():
        raise RecipeError(f"sample: {option} is empty: give a file, or drop it")
    try:
        os.close(open_regular(folder / value))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"sample: {option}: cannot read {shown(folder / value)}: {reason}") from None
    return folder / value


def _slug(prompt: str) -> str:
    """The first words of a prompt, as a file's name has them: -the-sad-mask."""
    plain = unicodedata.normalize("NFKD", prompt).encode("ascii", "ignore").decode().lower()
    slug = ""
    for word in re.findall(r"[a-z0-9]+", plain):
        if len(slug) + len(word) > SLUG:
            break
        slug += f"-{word}"
    return slug
