"""Reads what an ONNX file says of itself, without its weights: opset, producer, outputs, metadata.

Source: onnx/onnx.proto, IR version 13: the numbers of the fields.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from beholder.errors import ModelInvalid
from beholder.model.protobuf import BYTES, MALFORMED, VARINT, fields, varint

__all__ = ["OnnxHeader", "read_onnx_header"]

_MODEL_TEXTS = {2: "producer", 3: "producer_version"}
_GRAPH, _OPSET, _METADATA = 7, 8, 14
_GRAPH_OUTPUT = 12
_DOMAIN, _OPSET_VERSION = 1, 2


@dataclass(frozen=True, slots=True)
class OnnxHeader:
    """What an ONNX file says of itself.

    Args:
        producer: The program that wrote it, with its version; empty if it does not say.
        opsets: The version of each set of operators, by the set's domain; '' is ONNX's own.
        outputs: The names of its outputs.
        metadata: The texts that the exporter wrote into it, by key.
    """

    producer: str
    opsets: Mapping[str, int]
    outputs: tuple[str, ...]
    metadata: Mapping[str, str]


def read_onnx_header(content: memoryview, where: str) -> OnnxHeader:
    """Return what an ONNX file says of itself.

    Args:
        content: The file's bytes.
        where: Its name in messages.

    Raises:
        ModelInvalid: It is no ONNX file.
    """
    texts: dict[str, str] = {}
    opsets: dict[str, int] = {}
    metadata: dict[str, str] = {}
    outputs: tuple[str, ...] = ()
    try:
        for number, value in _parts(content):
            if number in _MODEL_TEXTS:
                texts[_MODEL_TEXTS[number]] = _text(value)
            elif number == _OPSET:
                domain, version = _opset(value)
                opsets[domain] = version
            elif number == _METADATA:
                entry = dict(_parts(value))
                metadata[_text(entry.get(1, value[:0]))] = _text(entry.get(2, value[:0]))
            elif number == _GRAPH:
                outputs = tuple(
                    _name(part) for part_number, part in _parts(value) if part_number == _GRAPH_OUTPUT
                )
    except ValueError as error:
        raise ModelInvalid(f"{where} is no ONNX file, or damaged; export or copy it again") from error
    producer = " ".join(filter(None, (texts.get("producer"), texts.get("producer_version"))))
    return OnnxHeader(producer, opsets, outputs, metadata)


def _parts(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the number and the value of each field that holds bytes."""
    for number, wire, _, start, end in fields(message):
        if wire == BYTES:
            yield number, message[start:end]


def _opset(message: memoryview) -> tuple[str, int]:
    domain, version = "", 0
    for number, wire, _, start, end in fields(message):
        if number == _DOMAIN and wire == BYTES:
            domain = _text(message[start:end])
        elif number == _OPSET_VERSION and wire == VARINT:
            version = varint(message, start)[0]
    return domain, version


def _name(value_info: memoryview) -> str:
    return _text(dict(_parts(value_info)).get(1, value_info[:0]))


def _text(value: memoryview) -> str:
    try:
        return bytes(value).decode()
    except UnicodeDecodeError as error:
        raise ValueError(MALFORMED) from error
