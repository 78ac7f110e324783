"""The names of the tensors of a released network and those of ours, both ways. Without torch, because the description
of a system imports it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Names:
    """Modules (or parameters) there -> ours: `outside` of the blocks, and those of a `block`. The list of blocks is
    called `blocks` there, and `own` by us ("": its numbers begin the names)."""

    outside: Mapping[str, str]
    block: Mapping[str, str]
    blocks: str = "blocks"
    own: str = "blocks"

    def ours(self, key: str) -> str | None:
        """Our name of a tensor of theirs; None if ours has none."""
        return _mapped(key, (self.blocks, self.own), self.outside, self.block)

    def theirs(self, key: str) -> str:
        """Their name of a parameter of ours."""
        found = _mapped(key, (self.own, self.blocks), _inverse(self.outside), _inverse(self.block))
        assert found is not None, key
        return found


def _inverse(table: Mapping[str, str]) -> dict[str, str]:
    return {ours: theirs for theirs, ours in table.items()}


def _mapped(key: str, blocks: tuple[str, str], outside: Mapping[str, str], block: Mapping[str, str]) -> str | None:
    before, after = (f"{name}." if name else "" for name in blocks)
    match = re.fullmatch(rf"{re.escape(before)}(\d+\.)(.+)", key, re.DOTALL)
    prefix, rest, table = (after + match[1], match[2], block) if match else ("", key, outside)
    if rest in table:
        return prefix + table[rest]
    module, _, leaf = rest.rpartition(".")
    return f"{prefix}{table[module]}.{leaf}" if module in table else None
