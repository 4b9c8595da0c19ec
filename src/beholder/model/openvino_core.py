"""OpenVINO, as every user of it imports it, and the parts that load its CPU plugin."""

import ctypes
import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from beholder.model.mapped_file import pages_given_back

__all__ = ["compile_model", "cpu_capabilities", "first_line", "import_openvino"]


def compile_model(model: Any, settings: Mapping[str, Any]) -> Any:
    """Return a model of OpenVINO compiled for the CPU.

    Raises:
        RuntimeError: OpenVINO cannot compile it.
    """
    # The model keeps its weights' file mapped.
    with _signal_stack_kept(), pages_given_back():
        return import_openvino().Core().compile_model(model, "CPU", settings)


def cpu_capabilities() -> list[str]:
    """Return what the CPU computes in, such as 'FP32' and 'BF16'."""
    with _signal_stack_kept():
        return list(import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def import_openvino() -> Any:
    """Import OpenVINO, without its model converter.

    The converter is optional (openvino/__init__.py catches its ImportError). It imports an HTTP client and
    telemetry, which cost each worker 11 MB and 50 ms.
    """
    converter = "openvino.tools.ovc"
    if "openvino" in sys.modules or converter in sys.modules:
        return importlib.import_module("openvino")
    # None in sys.modules makes an import of that name fail.
    sys.modules[converter] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[converter]


def first_line(error: RuntimeError) -> str:
    """Return the line of OpenVINO's message that names the reason, behind lines on its own source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [
        line for line in lines if not line.startswith(("Exception from", "Check '", "While validating node"))
    ]
    # The operators that it does not know are in a list further down.
    if listed := [line.removeprefix("-- ") for line in telling if line.startswith("-- ")]:
        return "; ".join(listed)
    first, *more = telling or lines or ["no reason given"]
    return f"{first} {more[0]}" if first.endswith(":") and more else first


class _SignalStack(ctypes.Structure):
    """`stack_t` of sigaltstack(2) on Linux."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def _signal_stack_kept() -> Iterator[None]:
    """Leave the thread with the signal stack that it had.

    A plugin gives the thread that loads it one of its own, and puts back the former when it is unloaded.
    Unloaded by another thread, or before an earlier plugin, it leaves that thread with a stack that is freed:
    the next signal, such as the SIGTERM that asks a worker to drain, is a segmentation fault.
    Source: openvino 2026.4, src/plugins/intel_cpu/src/plugin.cpp, SigAltStackSetup (2026-11)
    """
    if sys.platform != "linux":  # nor does the plugin do so elsewhere
        yield
        return
    library, kept = ctypes.CDLL(None), _SignalStack()
    library.sigaltstack(None, ctypes.byref(kept))
    try:
        yield
    finally:
        library.sigaltstack(ctypes.byref(kept), None)
