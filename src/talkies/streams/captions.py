"""How a system reads the captions of its clips."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol


class Captions(Protocol):
    """`wording`: the parts of a caption (script, describe: script.py) that may be given apart -> what each is for."""

    @property
    def wording(self) -> Mapping[str, str]:
        """See above; empty if a caption has no parts."""

    def unfit(self, caption: str) -> str | None:
        """Why nothing can be made of a caption; None if something can."""

    def written(self, text: str, caption: str) -> str:
        """What a text encodes of a caption."""

    def said(self, text: str, caption: str) -> bool:
        """Whether a text holds words that are said, of which no encoder may cut any."""

    def joined(self, texts: Mapping[str, str]) -> str:
        """The caption that these texts, one or more, were `written` of, in one line."""

    def seconds(self, model: Any, caption: str) -> float | None:
        """How long what is made of a caption should last, by the section `model`; None if that does not follow from
        it."""

    def least_seconds(self, model: Any, caption: str) -> float | None:
        """The shortest time in which what a caption says can be said, by the section `model`; None if that does not
        follow from it."""


class WholeCaptions:
    """Captions without parts: any will do, every text encodes all of it, and none says how long a clip lasts."""

    wording: Mapping[str, str] = MappingProxyType({})

    def unfit(self, caption: str) -> None:
        """Nothing is."""
        del caption

    def written(self, text: str, caption: str) -> str:
        """All of it."""
        del text
        return caption

    def said(self, text: str, caption: str) -> bool:
        """None does."""
        del text, caption
        return False

    def joined(self, texts: Mapping[str, str]) -> str:
        """Any of them: they are equal."""
        return next(iter(texts.values()))

    def seconds(self, model: Any, caption: str) -> None:
        """None."""
        del model, caption

    def least_seconds(self, model: Any, caption: str) -> None:
        """None."""
        del model, caption


WHOLE = WholeCaptions()
