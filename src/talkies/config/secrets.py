"""Text that looks like a credential: refused in recipes, and masked in messages, logs and records.

Three parts of a URI can carry a credential: the text before an `@`, the query and the fragment. All three are refused
and masked, except what is needed to find a database: a user name without a password, and the parameters in HARMLESS.
A reference `models:/name@alias` is not such a URI.
"""

import re
from urllib.parse import unquote

MASK = "***"
INSTEAD = (
    "recipes are recorded and shown: leave it out, and set it where MLflow or the library that reads it looks "
    "(MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_TOKEN, ~/.databrickscfg, PGPASSWORD)"
)
HARMLESS = frozenset(
    {"charset", "connect_timeout", "read_default_file", "read_default_group", "sslmode", "sslrootcert"}
)
"""Query parameters of a database URI that determine how to connect, but carry no identity."""
_SECRET = r"secret|(?<!duration_)token(?!s)|passw|pwd|credential|api_?key|access_?key|private_?key|signature"
_NAME = re.compile(_SECRET, re.IGNORECASE)
_FORM = re.compile(
    r"\bhf_[A-Za-z0-9]{16,}|\bgh[pousr]_[A-Za-z0-9]{16,}|\bgithub_pat_\w{16,}|\bglpat-[\w-]{16,}|\bdapi[0-9a-f]{16,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}|\bsk-[A-Za-z0-9_-]{16,}|\bxox[abprs]-[\w-]*"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[\w.-]*|-----BEGIN[\s\S]*"
)
_ASSIGNED = re.compile(rf"((?<![\w.-])[\w.-]{{0,60}}?(?:{_SECRET})[\w-]{{0,40}}(?:=|%3D))[^\s'\"`&;,)]+", re.IGNORECASE)
_DATABASE = re.compile(r"(?:postgresql|mysql|mssql)(?:\+\w+)?:", re.IGNORECASE)
_WITH_PORT = re.compile(r"https?:|" + _DATABASE.pattern, re.IGNORECASE)
_AFTER = ":.,;)!"
"""Punctuation that may follow a URI in a sentence."""
_WITHOUT_HOST = re.compile(r"(?:models|file|sqlite(?:\+\w+)?):", re.IGNORECASE)
_SCHEME = r"(?P<scheme>(?<![A-Za-z0-9])[A-Za-z0-9][A-Za-z0-9+.-]{0,40}:)"
_URI = re.compile(rf"{_SCHEME}(?P<rest>/[^\s'\"`<>]*)")
_WHOLE = re.compile(rf"(?P<lead>(?:[\w.-]{{1,200}}=)?)(?:{_SCHEME}(?=/|[^\s/]\S*@\S*\Z)|(?=//))(?P<rest>.*)", re.DOTALL)
_PARTS = re.compile(
    r"(?P<slashes>/*)(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?(?P<fragment>#.*)?", re.DOTALL
)
_INNER = re.compile(r"//[^/?#]*@")
"""The user part of a URI within the path of another URI."""
_PAGE = re.compile(
    r"#/(?:experiments|runs|models)(?:/[\w.-]+)*(?:\?(?:&?(?:workflowType|compareRunsMode|viewStateShareKey)=\w+)+)?"
)
"""A page of MLflow's UI, to which `status` links."""


def named_secret(name: str) -> bool:
    """Whether `name` is the name of a credential."""
    return _NAME.search(name) is not None


def credential(text: str) -> str | None:
    """A description, without the value, of the part of `text` that can carry a credential; None if there is none."""
    whole = _WHOLE.fullmatch(text)
    uris = [whole] if whole else _URI.finditer(text)
    parts = [part for uri in uris for part in _carriers(uri["scheme"] or "", uri["rest"])]
    if parts:
        return parts[0]
    return "a word in the form of an access token or a key" if _FORM.search(text) else None


def masked(text: str) -> str:
    """`text` with *** in place of everything that can carry a credential."""
    whole = _WHOLE.fullmatch(text)
    if whole:
        hidden = f"{whole['lead']}{_hidden(whole['scheme'] or '', whole['rest'])}"
    else:
        hidden = _URI.sub(lambda uri: _hidden(uri["scheme"], uri["rest"]), text)
    return _FORM.sub(MASK, _ASSIGNED.sub(rf"\1{MASK}", hidden))


def bare(uri: str) -> str:
    """`uri` without any part that can carry a credential: it identifies the store, independent of the user."""
    whole = _WHOLE.fullmatch(uri)
    if whole is None:
        return uri
    scheme = whole["scheme"] or ""
    parts = _split(scheme, whole["rest"])
    user = _user(scheme, parts)
    host, path = (parts["authority"], parts["path"]) if user is None else (user, "")
    return f"{scheme}{parts['slashes']}{host}{path if '@' not in parts['authority'] else parts['path']}"


def _carriers(scheme: str, rest: str) -> list[str]:
    """Descriptions of the parts of one URI that can carry a credential."""
    parts = _split(scheme, rest)
    carriers = []
    if _user(scheme, parts) is not None or _INNER.search(parts["path"]):
        carriers.append("the text before its `@`")
    elif _odd_port(scheme, parts["authority"]):
        carriers.append("the text in place of its port, which must be a number")
    if _query(scheme, parts["query"]) != parts["query"]:
        carriers.append("its query (the text after `?`)")
    if parts["fragment"]:
        carriers.append("its fragment (the text after `#`)")
    if _ASSIGNED.search(unquote(parts["authority"] + parts["path"])):
        carriers.append("a `name=value` in it that is named like a credential")
    return carriers


def _hidden(scheme: str, rest: str) -> str:
    """One URI with *** in place of these parts."""
    parts = _split(scheme, rest)
    authority, path, user = parts["authority"], parts["path"], _user(scheme, parts)
    if user is not None:
        authority, path = f"{MASK}@{user}", "" if "@" not in authority else path
    if _odd_port(scheme, authority):
        authority = f"{authority.rstrip(_AFTER).rpartition(':')[0]}:{MASK}"
    path = _INNER.sub(f"//{MASK}@", path)
    page = _PAGE.fullmatch(parts["fragment"])
    fragment = parts["fragment"] if page else parts["fragment"] and f"#{MASK}"
    return f"{scheme}{parts['slashes']}{authority}{path}{_query(scheme, parts['query'])}{fragment}"


def _split(scheme: str, rest: str) -> dict[str, str]:
    """The parts of a URI after its scheme. Schemes without a host have an authority only after exactly two slashes."""
    match = _PARTS.fullmatch(rest)
    assert match is not None
    parts = {name: text or "" for name, text in match.groupdict().items()}
    if len(parts["slashes"]) != 2 and _WITHOUT_HOST.fullmatch(scheme):
        parts |= {"authority": "", "path": parts["authority"] + parts["path"]}
    return parts | {"authority": parts["authority"].replace("%40", "@")}


def _odd_port(scheme: str, authority: str) -> bool:
    """Whether something else stands in place of a port: perhaps a password that has lost its `@`."""
    _, colon, port = authority.rstrip(_AFTER).rpartition(":")
    known = port.isdigit() or "]" in port  # "]": an IPv6 address
    return bool(colon) and not known and _WITH_PORT.fullmatch(scheme) is not None


def _user(scheme: str, parts: dict[str, str]) -> str | None:
    """If the user part of a URI can be a credential, what follows it; else None.

    A slash in a password ends the authority before its `@`: then the port is not a number.
    """
    authority = parts["authority"]
    if "@" in authority:
        name, _, host = authority.rpartition("@")
        return None if _DATABASE.fullmatch(scheme) and name.isidentifier() else host
    _, colon, port = authority.rpartition(":")
    beyond = parts["path"] + parts["query"] + parts["fragment"]
    odd = bool(colon) and not port.isdigit() and not authority.endswith("]")
    return beyond.rpartition("@")[2] if odd and "@" in beyond else None


def _query(scheme: str, query: str) -> str:
    """A query with *** in place of all values except those of harmless parameters, and of texts without a name."""
    if len(query) < 2:
        return ""
    return "?" + "&".join(_parameter(scheme, text) for text in query[1:].split("&"))


def _parameter(scheme: str, text: str) -> str:
    name, sign, _ = text.partition("=")
    if sign and name in HARMLESS and _DATABASE.fullmatch(scheme):
        return text
    return f"{name}={MASK}" if sign and name.isidentifier() and len(name) <= 40 else MASK
