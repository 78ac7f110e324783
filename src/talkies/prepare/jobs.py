"""The sets to make, each with its items."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from talkies.codecs.identity import config_values
from talkies.config.canonical import identifying
from talkies.prepare.clips import RawClip, read_clip
from talkies.prepare.items import Item
from talkies.prepare.plan import SetPlan
from talkies.prepare.reading import Reader
from talkies.prepare.rejection import Rejected
from talkies.prepare.report import Quarantined
from talkies.prepare.speakers import BY_PEOPLE

READER = 5
"""Part of every set's key: raise it when the same files would give other clips."""
OLDER = (4, 3, 2)
"""Earlier versions; their sets are kept if a run has started with them."""


@dataclass(frozen=True, kw_only=True)
class InUse:
    """The data that runs have started with: fingerprints of sets, and identities of codecs. It is kept, even if a later
    reader would make other clips from the same files."""

    sets: frozenset[str] = frozenset()
    codecs: frozenset[str] = frozenset()


NOTHING_IN_USE = InUse()


@dataclass(frozen=True, kw_only=True)
class SetJob:
    """One set: its plan, its items in order, and their contents (id, sha256 of media, of caption and
    of files of tracks)."""

    plan: SetPlan
    items: Sequence[Item]
    content: Sequence[Sequence[str]]

    def key(self, reader: int = READER) -> Mapping[str, Any]:
        """Everything that determines the clips before they are encoded, in the form of version `reader`; the location
        of the files does not matter."""
        section, dual = identifying(self.plan.config), self.plan.config.dual_demix
        if dual is not None:
            section["dual_demix"]["by"] = config_values(dual.by)
        key = {"set": section, "rate": self.plan.sample_rate, "content": self.content}
        if reader >= 4:
            key["channel"] = self.plan.channel
        if reader >= 5:
            key["delayed"] = self.plan.delayed
        if self.plan.sync is not None:
            scores = [(item.sync.offset, item.sync.confidence) for item in self.items if item.sync is not None]
            key["sync"] = {"rule": identifying(self.plan.sync), "scores": scores}
        if self.plan.config.subset in BY_PEOPLE:
            key["people"] = [None if item.people is None else asdict(item.people) for item in self.items]
        return key

    def read(self, reader: Reader) -> Iterator[RawClip | Quarantined]:
        """Every item in order: a clip to encode, or the reason why there is none."""
        for item in self.items:
            try:
                yield read_clip(item, self.plan, reader)
            except Rejected as rejected:
                yield Quarantined(id=item.id, reason=rejected.reason, detail=rejected.detail)
