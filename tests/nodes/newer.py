"""`mintmark` as its next release might be: it knows one migration more.

`python newer.py python -m mintmark serve …` runs the command at its end: so it can stand before any.
"""

import sys

from mintmark.store import schema

ADDED = "alter table resource add column note text;"


def main() -> None:
    """Runs the command line."""
    schema.MIGRATIONS = (*schema.MIGRATIONS, ADDED)
    from mintmark.cli import main as run  # noqa: PLC0415  the runner of migrations takes them over when it is imported

    run(sys.argv[4:])


if __name__ == "__main__":
    main()
