"""Keeps the codecs' own reports on damaged images out of the log; `decode` raises them as errors."""

import ctypes
import warnings

import cv2
from PIL import TiffImagePlugin, _imaging

__all__ = ["quieten"]


def quieten() -> None:
    """Turn off the codecs' own reports in this process."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    TiffImagePlugin.logger.disabled = True  # Pillow's only logger of errors
    warnings.filterwarnings("ignore", module=r"PIL\.")
    _quieten_libtiff()


def _quieten_libtiff() -> None:
    """Remove the handlers by which libtiff prints to standard error."""
    # Pillow's own library leads to the libtiff that it is linked with.
    try:
        library = ctypes.CDLL(_imaging.__file__)
        setters = (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler)
    except (OSError, AttributeError):
        return  # linked in another way: its lines are printed, which does no harm
    for setter in setters:
        setter.argtypes, setter.restype = (ctypes.c_void_p,), ctypes.c_void_p
        setter(None)
