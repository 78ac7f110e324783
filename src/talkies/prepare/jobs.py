"""The sets to make, each with the items that it is made from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from talkies.config.canonical import to_dict
from talkies.prepare.clips import RawClip, Rejected, read_clip
from talkies.prepare.items import Item
from talkies.prepare.plan import SetPlan
from talkies.prepare.reading import Reader
from talkies.prepare.report import Quarantined


@dataclass(frozen=True, kw_only=True)
class Job:
    """One set: its plan, its items in order, and what these files hold (id, sha256 of media and of caption)."""

    plan: SetPlan
    items: Sequence[Item]
    content: Sequence[Sequence[str]]

    @property
    def key(self) -> Mapping[str, Any]:
        """What decides the clips before they are encoded. Where the files lie does not."""
        return {
            "set": to_dict(self.plan.config),
            "rate": self.plan.sample_rate,
            "channel": self.plan.channel,
            "delayed": self.plan.delayed,
            "content": self.content,
        }

    def read(self, reader: Reader) -> Iterator[RawClip | Quarantined]:
        """Every item in order: a clip to encode, or why it is none."""
        for item in self.items:
            try:
                yield read_clip(item, self.plan, reader)
            except Rejected as rejected:
                yield Quarantined(id=item.id, reason=rejected.reason, detail=rejected.detail)
