"""`mintmark` as its next release might be: it knows one migration more.

Put before a command, as in `python newer.py python -m mintmark serve …`, it runs that command's arguments.
"""

import sys

from mintmark.store import schema

ADDED = "alter table resource add column note text;"
_COMMAND = 4  # where arguments begin behind: newer.py python -m mintmark

if __name__ == "__main__":
    schema.MIGRATIONS = (*schema.MIGRATIONS, ADDED)
    from mintmark.cli import main  # The runner of migrations keeps those that it finds when it is imported.

    main(sys.argv[_COMMAND:])
