"""Card files, one per registered version, and MODEL_CARDS.md, which says what they say."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from talkies.tracking.atomic import write_text
from talkies.tracking.card_text import Card, Front, card_text, front_matter, metrics_of, parse_card

FullScale = Sequence[tuple[str, str]]  # path of a recipe that nobody has trained, one line of what it is planned for


def write_card(cards_folder: Path, card: Card, aliases: Mapping[str, str]) -> Path:
    """Write CARDS/NAME/version-000N.md, and the alias state of the model's other cards. `aliases`: alias -> version."""
    path = cards_folder / card.name / f"version-{int(card.version):04d}.md"
    write_text(path, card_text(front_matter(card, _pointing(aliases, card.version))))
    update_aliases(cards_folder, card.name, aliases)
    return path


def update_aliases(cards_folder: Path, name: str, aliases: Mapping[str, str]) -> None:
    """Record in every card of a model which aliases (alias -> version) point at it."""
    for path, front in _cards(cards_folder / name):
        found = _pointing(aliases, str(front["talkies"]["version"]))
        if front["talkies"]["aliases"] != found:
            front["talkies"]["aliases"] = found
            write_text(path, card_text(front))


def render_model_cards(cards_folder: Path, full_scale: FullScale, target: Path) -> None:
    """Write MODEL_CARDS.md to `target` from the card files below `cards_folder`."""
    write_text(target, model_cards(cards_folder, full_scale, beside=target.parent))


def model_cards(cards_folder: Path, full_scale: FullScale, *, beside: Path) -> str:
    """The text of MODEL_CARDS.md: a function of the card files and the list alone. `beside`: the folder it lies in."""
    parts = ["# Model cards\n\nRendered by `talkies promote` from the card files; change nothing here."]
    for folder in sorted(path for path in cards_folder.glob("*") if path.is_dir()):
        found = _cards(folder)
        if found:
            parts.append(_model(folder.name, found, beside))
    if len(parts) == 1:
        parts.append("No model was promoted here.")
    parts.append(_never_trained(full_scale))
    return "\n\n".join(parts) + "\n"


def _cards(folder: Path) -> list[tuple[Path, Front]]:
    return [(path, parse_card(path.read_text(encoding="utf-8"))) for path in sorted(folder.glob("version-*.md"))]


def _pointing(aliases: Mapping[str, str], version: str) -> list[str]:
    return sorted(alias for alias, target in aliases.items() if target == version)


def _model(name: str, cards: Sequence[tuple[Path, Front]], beside: Path) -> str:
    head = "| version | alias | phase | steps | base | data | recipe | commit | sha256 |\n" + "|---" * 9 + "|"
    rows = [_version_row(path, front["talkies"], beside) for path, front in cards]
    return "\n".join([f"## {name}\n", head, *rows, "", _metric_table([front for _, front in cards])])


def _version_row(path: Path, card: Front, beside: Path) -> str:
    link = Path(os.path.relpath(path, beside)).as_posix()
    base = card["base"]["name"] if card["base"] else "-"
    cells = [
        f"[{card['version']}]({link})",
        ", ".join(card["aliases"]) or "-",
        card["phase"],
        str(card["step"]),
        base,
        f"{card['data']['shards']} ({card['data']['clips']} clips)",
        f"{card['recipe']} `{card['recipe_hash'][:8]}`",
        f"`{card['commit'][:8]}`",
        f"`{card['sha256'][:12]}`",
    ]
    return f"| {' | '.join(cells)} |"


def _metric_table(fronts: Sequence[Front]) -> str:
    measured = [metrics_of(front) for front in fronts]
    keys = sorted({key for metrics in measured for key in metrics})
    head = f"| metric | gate | {' | '.join(str(front['talkies']['version']) for front in fronts)} |"
    gates = {g["metric"]: f"{g['op']} {g['needed']:g}" for front in fronts for g in front["talkies"]["gates"]}
    rows = []
    for key in keys:
        values = [f"{metrics[key]:.4f}" if key in metrics else "-" for metrics in measured]
        rows.append(f"| {key} | {gates.get(key, '')} | {' | '.join(values)} |")
    return "\n".join([head, "|---" * (len(fronts) + 2) + "|", *rows])


def _never_trained(full_scale: FullScale) -> str:
    lines = [f"- `{recipe}`: {summary}" for recipe, summary in full_scale]
    text = "These recipes decode, build and are planned in the tests. Nobody has trained them: there are no weights."
    return "\n".join(["## Never trained\n", text, "", *(lines or ["- none"])])
