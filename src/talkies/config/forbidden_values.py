"""What no value of a recipe may contain, whatever its key: a credential, a second line, or characters that no file or
server accepts."""

from talkies.config.errors import RecipeError
from talkies.config.merge import leaves
from talkies.config.quoting import named
from talkies.config.secrets import INSTEAD, credential
from talkies.config.single_line import plain
from talkies.config.source import LoadedRecipe


def refuse_unfit(source: LoadedRecipe) -> None:
    """Raise RecipeError, naming the key but not the value, for a text or a key that can carry a credential, contains
    NUL or a lone surrogate, or is not one line."""
    for path, value in leaves(source.values):
        key = path.rpartition(".")[2]
        place = source.origins.get(path, str(source.file))
        for text in (key, value):
            if not isinstance(text, str):
                continue
            if part := credential(text):
                raise RecipeError(f"recipe: `{named(path)}` ({place}) can carry a credential: {part}; {INSTEAD}")
            if "\0" in text or not _whole(text):
                raise RecipeError(f"recipe: `{named(path)}` ({place}) contains NUL or a lone surrogate: remove it")
            if not plain(text):
                raise RecipeError(
                    f"recipe: `{named(path)}` ({place}) must be one line: it contains a line break, a control "
                    "character or an invisible mark; remove it"
                )


def _whole(text: str) -> bool:
    """Whether every character has a UTF-8 form."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
