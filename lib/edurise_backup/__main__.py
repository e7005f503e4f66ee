"""`python -m edurise_backup`: the command line, for a path that is too long for a script's first line."""

from edurise_backup.cli import main

main()
