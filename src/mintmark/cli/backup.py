"""`mintmark backup` and `mintmark restore`: these two open the data themselves and ask no server."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mintmark.cli.output import SIGNALLED, print_json, print_rows

if TYPE_CHECKING:
    from mintmark.store.backup import Contents

_data = click.option(
    "--data", metavar="DIR", envvar="MINTMARK_DATA", default=".mintmark", help="Data folder of the server."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@_data
@_json
def backup(file: Path, force: bool, data: str, as_json: bool) -> None:
    """Copy the data to FILE, while the server runs or not.

    FILE is one moment's state, complete and checked. The key-encryption key is not in it: keep that elsewhere.
    """
    from mintmark.data_folder import DataFolder
    from mintmark.sources import system
    from mintmark.store.backup import back_up

    sources, database = system(), DataFolder(Path(data).absolute()).database
    with cleaning_up(), progress_bar("Copying") as progress:
        taken_at = _time(sources.now())
        contents = back_up(database, file, sources, progress, force=force)
    if as_json:
        print_json({"file": str(file), "size": contents.size, **_counts(contents), "takenAt": taken_at})
        return
    print_rows([("File", str(file)), ("Size", _size(contents.size)), *_rows(contents), ("Taken at", taken_at)])
    click.echo("\nIts secrets are sealed. Keep the key-encryption key too, and elsewhere: without it they are lost.")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@_data
@_json
def restore(file: Path, data: str, as_json: bool) -> None:
    """Put the backup FILE into a data folder that has no data yet.

    What happened after the backup is undone: who was deleted is back, and what was revoked holds again.
    """
    from mintmark.data_folder import hold
    from mintmark.sources import system
    from mintmark.store.backup import check_file
    from mintmark.store.backup import restore as put_back

    check_file(file)  # Before a folder is made for it.
    with cleaning_up(), hold(data, ephemeral=False) as folder, progress_bar("Copying") as progress:
        contents = put_back(file, folder.database, system(), progress)
    newest_at = _time(contents.newest_at)
    if as_json:
        print_json({"data": str(folder.path), **_counts(contents), "newestRecordAt": newest_at, "feedEpoch": "new"})
        return
    rows = [("Data", str(folder.path)), *_rows(contents), ("Newest record", newest_at), ("Feed epoch", "new")]
    print_rows(rows)
    click.echo(f"\nBefore you start the server, give it the key-encryption key {' and '.join(contents.sealed_by)}.")


@contextmanager
def cleaning_up() -> Iterator[None]:
    """Has signals that end a program remove unfinished files first, as Ctrl-C does."""

    def end(number: int, _frame: object) -> None:
        sys.exit(SIGNALLED + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error where that is a terminal."""
    with click.progressbar(length=1, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:

        def progress(done: int, of: int) -> None:
            bar.length = of
            bar.update(done - bar.pos)

        yield progress


def _counts(contents: "Contents") -> dict[str, Any]:
    return {
        "identities": contents.identities,
        "resources": contents.resources,
        "sealedBy": contents.sealed_by,
        "checked": True,
    }


def _rows(contents: "Contents") -> list[tuple[str, str]]:
    return [
        ("Identities", str(contents.identities)),
        ("Resources", str(contents.resources)),
        ("Sealed by", ", ".join(contents.sealed_by)),
        ("Checked", "yes"),
    ]


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds // 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _size(count: int) -> str:
    """Bytes in the unit that leaves at least one and less than a thousand."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:  # noqa: PLR2004  SI
            break
        size, unit = size / 1000, larger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
