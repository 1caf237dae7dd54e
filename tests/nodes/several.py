"""Several `mintmark serve` over one PostgreSQL, as on several machines: nothing in common but database and keys."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from serving import Files, Serving, serving


@contextmanager
def nodes(folder: Path, database: str, count: int = 3, *flags: str) -> Iterator[list[Serving]]:
    """So many, each in a folder of its own below `folder`."""
    with ExitStack() as stack:
        yield [stack.enter_context(node(folder, database, number, *flags)) for number in range(count)]


@contextmanager
def node(folder: Path, database: str, number: int, *flags: str) -> Iterator[Serving]:
    """One of them; those of one folder have the same keys."""
    own = folder / f"node-{number}"
    own.mkdir(parents=True, exist_ok=True)
    keys = Files(folder / "keys") if (folder / "keys").exists() else _new_keys(folder / "keys")
    for key in (keys.key_encryption_key, keys.admin_key):
        shutil.copy(key, own / key.name)
    with serving(own, "--database", database, *flags) as started:
        yield started


def _new_keys(folder: Path) -> Files:
    folder.mkdir(parents=True)
    return Files(folder)
