"""Settings: read once at start-up, every problem reported at once, each value with its source and meaning."""

from beholder.config.declared import DECLARED, value_of
from beholder.config.resolve import make_settings
from beholder.config.settings import Settings
from beholder.config.sources import Loaded, load_settings, to_environment
from beholder.config.texts import to_text

__all__ = [
    "DECLARED",
    "Loaded",
    "Settings",
    "load_settings",
    "make_settings",
    "to_environment",
    "to_text",
    "value_of",
]
