"""`python -m mintmark`."""

from mintmark.cli import main

main()
