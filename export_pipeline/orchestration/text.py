"""Names from the trace store, made fit to be shown: they may be of any length and hold any character."""

import re

_LONGEST = 200


def one_line(text: str) -> str:
    """The text without control characters, cut to 200 characters; what was cut or replaced can be seen."""
    clean = "".join(character if character.isprintable() else "�" for character in text[: _LONGEST + 1])
    return clean if len(clean) <= _LONGEST else clean[: _LONGEST - 1] + "…"


def code(text: str) -> str:
    """The same as code in Markdown: nothing in it is formatted or linked, and it reads well where Markdown is not."""
    shown = one_line(text)
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"
