"""Credentials are refused wherever they would be written into a script."""

from collections.abc import Sequence

from talkies.config import RecipeError
from talkies.config.merge import leaves
from talkies.config.quoting import named
from talkies.config.secrets import credential, named_secret
from talkies.config.source import LoadedRecipe

_INSTEAD = (
    "scripts are kept and shown: put it in a file that only you can read, and name that file in the site's `source`"
)
_IMAGE = "container.image"
"""In the name of an image, `#` only separates the registry's host: it does not introduce a credential."""


def refuse_secrets(source: LoadedRecipe) -> None:
    """RecipeError, without the value, for a key of a site profile that contains a credential or is named like one."""
    for path, value in leaves(source.values):
        name = path.rpartition(".")[2]
        text = value.replace("#", "/", 1) if path == _IMAGE and isinstance(value, str) else value
        if isinstance(text, str) and (credential(text) or named_secret(name)):
            place = source.origins.get(path, str(source.file))
            raise RecipeError(f"site: `{named(path)}` ({place}) looks like a credential; {_INSTEAD}")


def refuse_secret_words(words: Sequence[str]) -> None:
    """RecipeError, without the value, for an override that contains a credential."""
    for word in words:
        if credential(word):
            key = named(word.partition("=")[0])
            raise RecipeError(f"submit: override `{key}` looks like a credential; {_INSTEAD}")
