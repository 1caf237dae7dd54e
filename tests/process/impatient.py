"""`mintmark` for which every request on a public listener has waited too long already.

Put before a command, as in `python impatient.py python -m mintmark serve …`, it runs that command's arguments.
"""

import sys

from mintmark.cli import main
from mintmark.http import waiting

_COMMAND = 4  # where arguments begin behind: impatient.py python -m mintmark

if __name__ == "__main__":
    waiting.PATIENCE = waiting.STANDING = -1.0
    main(sys.argv[_COMMAND:])
