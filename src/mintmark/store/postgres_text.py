"""Text as PostgreSQL can hold it: it has no NUL, and a custom id may."""

import re

_ESCAPED = re.compile(r"\\(.)")


def to_text(text: str) -> str:
    r"""With a NUL as `\0`, and so a backslash as `\\`."""
    return text.replace("\\", "\\\\").replace("\0", "\\0")


def from_text(text: str) -> str:
    """As it was."""
    return _ESCAPED.sub(lambda match: "\0" if match[1] == "0" else match[1], text)
