"""Cleaning of prompts, as the text towers were trained with (MOVA section 6)."""

import html

import ftfy


def clean_prompt(text: str) -> str:
    """Mojibake repaired, HTML unescaped twice (captions are often escaped twice), whitespace runs made one space."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())
