"""The lip-sync filter: which clips are kept, by scores that were computed before."""

from pathlib import Path

from talkies.config import RecipeError
from talkies.config.records import Kind, record
from talkies.prepare.config import SyncConfig

SUFFIX = ".sync.json"
FORM = '{"offset": FRAMES, "confidence": NUMBER}'


@record
class SyncScores:
    """What SyncNet says about a clip: by how many video frames its sound is off its lips, and how sure that is."""

    offset: float
    confidence: float


SCORES = Kind(holds=SyncScores, about="prepare", remedy=f"write {FORM}")


def sidecar(media: Path) -> Path:
    """The file with the scores of a media file."""
    return media.with_suffix(SUFFIX)


def out_of_sync(rule: SyncConfig, scores: SyncScores) -> str | None:
    """Why the rule rejects a clip; None if it keeps it. A small offset needs less confidence than a larger one."""
    off = abs(scores.offset)
    needed = rule.near_confidence if off <= rule.near else rule.confidence
    if off > rule.offset:
        return f"its sound is {scores.offset:g} frames off its lips; at most {rule.offset} are allowed"
    if scores.confidence < needed:
        return (
            f"its sound is {scores.offset:g} frames off its lips with a confidence of {scores.confidence:g}; at least "
            f"{needed:g} is needed there"
        )
    return None


def check_rule(rule: SyncConfig, key: str) -> None:
    """RecipeError, with the rule's `key`, if a part of it has no effect."""
    if rule.near > rule.offset:
        raise RecipeError(f"recipe: `{key}.near` is {rule.near}, above `{key}.offset` {rule.offset}: lower it")
    if rule.near_confidence > rule.confidence:
        raise RecipeError(
            f"recipe: `{key}.near_confidence` is {rule.near_confidence:g}, above `{key}.confidence` "
            f"{rule.confidence:g}: a small offset needs less confidence, not more; lower it"
        )
