"""Cleaning of prompts, as in the released code."""

import html

import ftfy

LONGEST = 1 << 16
"""Largest size of a caption or a prompt in bytes of UTF-8. The text encoders take a few hundred words."""


def clean_prompt(text: str) -> str:
    """Mojibake repaired, HTML unescaped twice (captions are often escaped twice), whitespace runs made one space."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())
