"""The command line: one module for each command, loaded only when that command runs."""

from beholder.cli.main import main

__all__ = ["main"]
