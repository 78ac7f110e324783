"""What looks like a credential, and is refused wherever it would be written into a script."""

import re
from collections.abc import Sequence

from talkies.config import RecipeError
from talkies.config.merge import leaves
from talkies.config.source import Source

_NAME = re.compile(r"secret|token|passw|credential|api_?key|access_?key|private_?key", re.IGNORECASE)
_VALUE = re.compile(
    r"://[^/@\s]*:[^/@\s]+@"  # a password in a URL
    r"|\bhf_[A-Za-z0-9]{16,}|\bgh[pousr]_[A-Za-z0-9]{16,}|\bglpat-[\w-]{16,}|\b(?:AKIA|ASIA)[0-9A-Z]{16}"
    r"|\bsk-[A-Za-z0-9_-]{16,}|\bxox[abprs]-|\beyJ[A-Za-z0-9_-]{8,}\.eyJ|-----BEGIN"
)
_INSTEAD = (
    "scripts are kept and shown: put it in a file that only you can read, and name that file in the site's `source`"
)


def secret(text: str) -> bool:
    """Whether `text` has the form of a credential."""
    return _VALUE.search(text) is not None


def refuse_secrets(source: Source) -> None:
    """RecipeError, without the value, for a key of a site profile that holds a credential or is named like one."""
    for path, value in leaves(source.values):
        name = path.rpartition(".")[2]
        if isinstance(value, str) and (secret(value) or _NAME.search(name)):
            place = source.origins.get(path, str(source.file))
            raise RecipeError(f"site: `{path}` ({place}) looks like a credential; {_INSTEAD}")


def refuse_secret_words(words: Sequence[str]) -> None:
    """RecipeError, without the value, for an override that holds a credential."""
    for word in words:
        if secret(word):
            raise RecipeError(f"submit: override `{word.partition('=')[0]:.80}` looks like a credential; {_INSTEAD}")
