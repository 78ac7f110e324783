"""Cleaning of prompts, as the text towers were trained with (MOVA section 6)."""

import html

import ftfy

LONGEST = 1 << 16
"""Bytes that a caption or a prompt may have as UTF-8. The text encoders take some hundred words."""


def clean_prompt(text: str) -> str:
    """Mojibake repaired, HTML unescaped twice (captions are often escaped twice), whitespace runs made one space."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())
