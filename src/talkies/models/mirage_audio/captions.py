"""How Mirage audio reads captions: what is said, and how it sounds."""

from collections.abc import Mapping
from typing import Any

from talkies.models.mirage_audio.options import WORDING
from talkies.streams.script import SAY, Script


class ScriptCaptions:
    """Scripts (streams/script.py); general sounds have a description alone."""

    wording: Mapping[str, str] = WORDING

    def unfit(self, caption: str) -> str | None:
        """A script that cannot be said."""
        return Script.parse(caption).problem() if SAY in caption else None

    def written(self, text: str, caption: str) -> str:
        """All of it, or the script or the description in it."""
        parts = Script.parse(caption)
        return {"script": parts.words, "description": parts.description}.get(text, caption)

    def said(self, text: str, caption: str) -> bool:
        """The script, also as a part of the caption."""
        return text != "description" and bool(Script.parse(caption).words)

    def joined(self, texts: Mapping[str, str]) -> str:
        """The line of script and description, if they are texts of their own."""
        if "text" in texts:
            return texts["text"]
        return str(Script(words=texts.get("script", ""), description=texts.get("description", "")))

    def seconds(self, model: Any, caption: str) -> float | None:
        """As long as its script takes at the model's pace; None without one."""
        spoken, pace = Script.parse(caption).spoken, model.characters_per_second
        return spoken / pace if spoken and pace else None

    def least_seconds(self, model: Any, caption: str) -> float | None:
        """As long as its script takes if nobody could say it faster; None without one."""
        spoken, fastest = Script.parse(caption).spoken, model.fastest_characters_per_second
        return spoken / fastest if spoken and fastest else None
