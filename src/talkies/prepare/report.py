"""What preparation kept, what it dropped, and why."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from talkies.config.numbers import Natural, NonNegative
from talkies.config.records import Kind, Name, record
from talkies.prepare.sources import Copy

SHOWN = 5
DIFFERENT = {"": "", "caption": ", whose other caption is kept", "sound or tags": ", but with other sound or tags"}
"""What is said of a copy, by what differs."""


@record
class Quarantined:
    """A media file that was left out of a set."""

    id: str
    reason: Name
    detail: str


@record
class SetReport:
    """One set: `kept` clips that last `seconds`; how many of their captions the text encoder cuts (`truncated`), how
    many are filled up with silence (`padded`), stay below the loudness target for their peak (`peak_limited`) or leave
    out the beginning of their file, where pictures or sound are missing (`late`); `treated` counts clips by what their
    frames needed ("laid on white": they were transparent); `fingerprint` is the shard set's; `took` seconds of work,
    `reused` where that was done before."""

    kept: Natural
    seconds: NonNegative
    truncated: Natural
    padded: Natural
    peak_limited: Natural
    late: Natural = 0
    treated: dict[str, Natural] = field(default_factory=dict)
    quarantined: tuple[Quarantined, ...]
    fingerprint: str
    took: NonNegative
    reused: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def lines(self, name: str) -> list[str]:
        """For people: one line, and one per reason for quarantine with the first files."""
        notes = {
            "quarantined": len(self.quarantined),
            "captions truncated": self.truncated,
            "padded with silence": self.padded,
            "limited by their peak": self.peak_limited,
            "begun later than their files": self.late,
        } | dict(self.treated)
        told = "".join(f", {count} {words}" for words, count in notes.items() if count)
        source = "reused" if self.reused else f"{self.took:.1f} s"
        return [f"{name}: {self.kept} clips, {self.seconds:.0f} s{told} ({source})", *_reasons(self.quarantined)]


@record
class PreparedRecord:
    """prepared.json: the `key` of what a set was made from, and how that went."""

    key: Name
    report: SetReport


@record
class ReportRecord:
    """report.json: what of a Report others read."""

    codecs: dict[str, str]


REPORT = Kind(holds=ReportRecord, about="prepare", remedy="run `talkies prepare` again", limit=1 << 28)
PREPARED = Kind(holds=PreparedRecord, about="prepare", remedy="run `talkies prepare`, which makes the set again")


def _reasons(quarantined: Sequence[Quarantined]) -> list[str]:
    lines = []
    for reason, count in Counter(entry.reason for entry in quarantined).most_common():
        entries = [entry for entry in quarantined if entry.reason == reason]
        files = "; ".join(plain(f"{entry.id} ({entry.detail})") for entry in entries[:SHOWN])
        lines.append(f"  {reason}: {count}: {files}{'; ...' if count > SHOWN else ''}")
    return lines


def _copied(name: str, copies: Sequence[Copy]) -> list[str]:
    """Those whose caption was left out with them come first."""
    lines = []
    for kept, words in ((False, "left out"), (True, "kept on one side of the split")):
        found = sorted((copy for copy in copies if copy.kept == kept), key=lambda copy: copy.differs != "caption")
        if found:
            files = "; ".join(plain(f"{copy.id} (as {copy.of}{DIFFERENT[copy.differs]})") for copy in found[:SHOWN])
            lines.append(f"source {name}: copies {words}: {len(found)}: {files}{'; ...' if len(found) > SHOWN else ''}")
    others = sum(copy.differs == "caption" for copy in copies)
    if others:
        lines.append(f"source {name}: {others} of them had other captions, which are left out with them")
    return lines


def plain(text: str) -> str:
    """On one line, and nothing that a terminal obeys: file names may hold any character."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def reasons(quarantined: Sequence[Quarantined]) -> str:
    """The same in one sentence."""
    return " |".join(_reasons(quarantined)).strip()


@dataclass(frozen=True, kw_only=True)
class Report:
    """A whole preparation. `manifest` is the sha256 over every set's fingerprint and every codec's identity: it names
    the data. `ignored` counts files that are no media, by source and suffix; `copies` are files with the content of
    another, by source."""

    recipe: str
    manifest: str
    codecs: Mapping[str, str]
    sets: Mapping[str, SetReport]
    ignored: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    copies: Mapping[str, Sequence[Copy]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def summary(self) -> str:
        """One line."""
        dropped = sum(len(found.quarantined) for found in self.sets.values())
        kept = sum(found.kept for found in self.sets.values())
        return f"{len(self.sets)} sets, {kept} clips ({dropped} quarantined), manifest {self.manifest[:12]}"

    def lines(self) -> list[str]:
        """For people: every set with what was dropped and why."""
        lines = [line for name, found in self.sets.items() for line in found.lines(name)]
        for name, counts in self.ignored.items():
            files = ", ".join(f"{count} {plain(suffix)}" for suffix, count in counts.items())
            lines.append(f"source {name}: ignored beside the media: {files}")
        lines += [line for name, copies in self.copies.items() for line in _copied(name, copies)]
        return [*lines, self.summary()]
