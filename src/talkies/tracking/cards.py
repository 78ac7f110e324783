"""Card files, one per registered version, and MODEL_CARDS.md, which summarises them.

FOLDER/cards/NAME/version-000N.md and, beside it, version-000N/sample-*.jpg; FOLDER/MODEL_CARDS.md. The files of a
promotion are rendered in memory before any of them is written.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from talkies.config import DataError
from talkies.config.records import regular_bytes
from talkies.tracking.card_body import main_number, summary
from talkies.tracking.card_text import Card, Front, card_text, front_matter, parse_card
from talkies.tracking.markdown import code, escaped, table

FullScale = Sequence[tuple[str, str]]  # path of a recipe that was never trained, one line on its purpose
Fronts = Mapping[Path, Front]  # front matter of the cards of one model, by file
HEAD = ("version", "alias", "what it is", "trained on", "result", "gates")


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """The cards of all models below `folder`. `full_scale`: recipes that MODEL_CARDS.md lists as never trained."""

    folder: Path
    full_scale: FullScale = ()

    @property
    def cards(self) -> Path:
        """The folder of the card files."""
        return self.folder / "cards"

    @property
    def index(self) -> Path:
        """MODEL_CARDS.md."""
        return self.folder / "MODEL_CARDS.md"

    def with_card(self, card: Card, aliases: Mapping[str, str]) -> dict[Path, bytes]:
        """Every file as it will be with `card`, once its model has the `aliases` (alias -> version)."""
        path = self.cards / card.name / card.file
        pictures = {path.parent / name: data for name, data in card.files.items()}
        fronts = {**self._fronts(card.name), path: front_matter(card, _pointing(aliases, card.version))}
        return {**pictures, **self._rendered(card.name, dict(sorted(fronts.items())), aliases)}

    def with_aliases(self, name: str, aliases: Mapping[str, str]) -> dict[Path, bytes]:
        """Every file as it will be once model `name` has the `aliases`."""
        return self._rendered(name, self._fronts(name), aliases)

    def text(self, changed: Mapping[str, Fronts] | None = None) -> str:
        """MODEL_CARDS.md, a function of the card files and `full_scale`. `changed`: cards of models as they will be."""
        names = {path.name for path in self.cards.glob("*") if path.is_dir()}
        models = {name: self._fronts(name) for name in names} | dict(changed or {})
        parts = ["# Model cards\n\nRendered by `talkies promote` from the card files; change nothing here."]
        parts += [_model(name, fronts, self.folder) for name, fronts in sorted(models.items()) if fronts]
        if len(parts) == 1:
            parts.append("No model was promoted here.")
        return "\n\n".join([*parts, _never_trained(self.full_scale)]) + "\n"

    def _fronts(self, name: str) -> dict[Path, Front]:
        return {path: read_card(path) for path in sorted((self.cards / name).glob("version-*.md"))}

    def _rendered(self, name: str, fronts: Fronts, aliases: Mapping[str, str]) -> dict[Path, bytes]:
        for front in fronts.values():
            front["talkies"]["aliases"] = _pointing(aliases, str(front["talkies"]["version"]))
        files = {path: card_text(front) for path, front in fronts.items()} | {self.index: self.text({name: fronts})}
        return {path: text.encode() for path, text in files.items()}


LIMIT = 16 << 20
"""Largest size of a card, in bytes."""


def read_card(path: Path) -> Front:
    """The front matter of a card file. Raises DataError if it is damaged or cannot be read."""
    try:
        return parse_card(regular_bytes(path, LIMIT).decode(), path)
    except OSError as error:
        raise DataError(f"cards: cannot read {path}: {error.strerror}; restore it, or remove it") from None
    except ValueError as error:
        raise DataError(f"cards: {path} is damaged: {error}; restore it, or remove it") from None


def _pointing(aliases: Mapping[str, str], version: str) -> list[str]:
    return sorted(alias for alias, target in aliases.items() if target == version)


def _model(name: str, cards: Fronts, beside: Path) -> str:
    rows = [_row(Path(os.path.relpath(path, beside)).as_posix(), front) for path, front in cards.items()]
    return f"## {escaped(name)}\n\n{table(HEAD, rows)}"


def _row(link: str, front: Front) -> list[str]:
    card, gates = front["talkies"], front["talkies"]["gates"]
    passed = sum(gate["passed"] for gate in gates)
    return [
        f"[{card['version']}]({link})",
        ", ".join(map(escaped, card["aliases"])) or "-",
        summary(card),
        f"{card['data']['clips']:,} clips of {code(card['data']['shards'])}",
        main_number(front),
        f"{passed} of {len(gates)} passed" if gates else "none",
    ]


def _never_trained(full_scale: FullScale) -> str:
    lines = [f"- {code(recipe)}: {escaped(words)}" for recipe, words in full_scale]
    text = "These recipes decode, build and are planned in the tests. Nobody has trained them: there are no weights."
    return "\n".join(["## Never trained\n", text, "", *(lines or ["- none"])])
