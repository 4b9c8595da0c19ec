"""The command line: one module for each command, imported when that command runs."""

from beholder.cli.main import main

__all__ = ["main"]
