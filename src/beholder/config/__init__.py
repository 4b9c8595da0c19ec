"""Settings: read once at start-up, every problem reported at once, each value with its source and meaning."""

from beholder.config.settings import Settings, make_settings
from beholder.config.sources import Loaded, load_settings, to_environment, to_text

__all__ = ["Loaded", "Settings", "load_settings", "make_settings", "to_environment", "to_text"]
