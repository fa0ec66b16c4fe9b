"""What the bytes in a JSON column hold: text that is packed in a documented way, or something that stays bytes."""

import json
import re

import pyarrow as pa

from export_pipeline.runs.raw import BYTES
from export_pipeline.sources.sql.filter_json import cleaned
from export_pipeline.sources.sql.jsonb import NotJsonbError, jsonb_text

MAX_UNPACKED = 64 * 1024 * 1024
"""Bytes; what unpacks to more stays packed."""

OTHER_BYTES = "other bytes"
_STEP = 1024 * 1024
_PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def unpacked(data: bytes) -> tuple[bytes | None, str]:
    """The text in some bytes as UTF-8, or None, and in one word what they are."""
    for magic, codec in _PACKED.items():
        if data.startswith(magic):
            text = _decompressed(data, codec)
            return (text, codec) if text is not None and _is_text(text) else (None, OTHER_BYTES)
    try:
        return jsonb_text(data).encode(), "JSONB"
    except NotJsonbError:
        return (data, "text") if _is_text(data) else (None, OTHER_BYTES)


def payload(data: bytes) -> bytes:
    """The text in the bytes of a JSON column, or the bytes marked as such (`runs.raw.BYTES`)."""
    text, _ = unpacked(data)
    return BYTES + data if text is None else text


def plain(data: bytes, *, is_json: bool) -> str | bytes | None:
    """The value in the bytes of another column; the bytes themselves where they hold no packed text.

    Where the column is one of JSON, or of JSON lists, binary JSON is read too.
    """
    text, kind = unpacked(data)
    if text is None or kind == "text" or (kind == "JSONB" and not is_json):
        return data
    return scalar(text.decode()) if is_json else text


def scalar(text: str) -> str | None:
    """The value that JSON text writes where JSON is not the value itself: null, a string's text, or the JSON text."""
    stripped = text.strip(" \t\r\n")
    if stripped == "null":
        return None
    if not stripped.startswith('"'):
        return text
    try:
        return str(json.loads(cleaned(stripped)))
    except ValueError:
        return text


def _decompressed(data: bytes, codec: str) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    try:
        with pa.CompressedInputStream(pa.BufferReader(data), codec) as stream:
            while part := stream.read(_STEP):
                size += len(part)
                if size > MAX_UNPACKED:
                    return None
                parts.append(part)
    except (OSError, pa.ArrowException):
        return None
    return b"".join(parts)


def _is_text(data: bytes) -> bool:
    if _CONTROL.search(data):
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
