"""The Markdown of README and docs, as far as tests look into it: fenced blocks, tables, headings and links."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])

_FENCED = re.compile(
    r"(?:^<!-- (?P<note>[^\n]+?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """A fenced block.

    Attributes:
        page: where it stands.
        line: the number of its first line there.
        language: the word after the fence.
        text: what it holds.
        note: the HTML comment on the line above it; empty for none.
    """

    page: Path
    line: int
    language: str
    text: str
    note: str

    @property
    def place(self) -> str:
        """For messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def noted(self, name: str) -> str:
        """What the comment above says after `name:`; empty if it says something else."""
        key, _, value = self.note.partition(":")
        return value.strip() if key == name else ""


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text()
    return [
        Block(page, text[: match.start("text")].count("\n") + 1, match["language"], match["text"], match["note"] or "")
        for match in _FENCED.finditer(text)
    ]


def without_blocks(text: str) -> str:
    """A page's text without its fenced blocks."""
    return _FENCED.sub("", text)


def section(page: Path, title: str) -> str:
    """The text under a heading, down to the next one of the same or a higher level."""
    text = page.read_text()
    headings = [heading for heading in _HEADING.finditer(without_marks(text)) if heading[2] == title]
    assert len(headings) == 1, f"{page.name} has {len(headings)} headings '{title}'"
    level, start = len(headings[0][1]), headings[0].end()
    ends = (other.start() for other in _HEADING.finditer(text, start) if len(other[1]) <= level)
    return text[start : next(ends, len(text))]


def without_marks(text: str) -> str:
    """The same text, character for character, with the insides of fenced blocks blanked: a shell's # is no heading."""
    return _FENCED.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def headings(page: Path) -> list[str]:
    """The headings of a page, without their marks."""
    return [heading[2] for heading in _HEADING.finditer(without_marks(page.read_text()))]


def links(page: Path) -> list[str]:
    """The targets of the links and pictures of a page."""
    text = without_blocks(page.read_text())
    return _LINK.findall(text) + re.findall(r'(?:src|srcset|href)="([^"]+)"', text)


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows of a text, heads left out; marks of code are taken off."""
    found: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("|") and not line.strip("|-: "):
            found.pop()  # The line below a head.
        elif line.startswith("|"):
            found.append([cell.strip().replace("`", "") for cell in line.strip("|").split("|")])
    return found
