"""Writes the tables of docs/reference/settings.md from what the code says of each setting: `make settings-page`."""

from collections.abc import Iterable

from docs.markdown import DOCS
from mintmark.cli.options import shown_default
from mintmark.settings import ABOUT, PREFIX, Door

PAGE = DOCS / "reference" / "settings.md"
BEGIN, END = "<!-- `make settings-page` writes from here -->\n", "<!-- to here -->\n"
HEAD = ["flag", "variable", "in TOML", "default", "allowed", "meaning"]
GROUPS: dict[str, Door | None] = {"Of both": None, "Of mintmark dev alone": "dev", "Of mintmark serve alone": "serve"}


def with_tables(page: str) -> str:
    """The page with its tables as they have to be; all that is written by hand stays."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{PAGE.name} does not say where its tables begin and end.")
    tables = (f"### {title}\n\n{_table(door)}\n" for title, door in GROUPS.items())
    return f"{before}{BEGIN}\n{''.join(tables)}{END}{after}"


def _table(door: Door | None) -> str:
    rows = (_row(name, door) for name, about in ABOUT.items() if about.door == door)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (HEAD, ["---"] * len(HEAD), *rows))


def _row(name: str, door: Door | None) -> Iterable[str]:
    about = ABOUT[name]
    in_toml = "" if about.is_secret else name
    default = about.default or _code(shown_default(name, door or "dev"))
    if about.serve_default is not None:
        default += f"; in serve {_code(shown_default(name, 'serve'))}"
    return _code(about.flag), _code(PREFIX + name.upper()), _code(in_toml), default, about.allowed, about.meaning


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))
