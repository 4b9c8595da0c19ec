"""`python -m beholder` is the command line."""

from beholder.cli import main

main()
