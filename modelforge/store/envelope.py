"""The bytes of the registry file: all tables in an envelope that carries the schema's number and a checksum.

    {"modelforge":{"schema":1,"sha256":"<64 hex digits>"},"tables":{"models":{"model-5f2c9a01b3de":{...}}}}

The checksum covers the bytes of the tables exactly as they are in the file, so a file can be checked without encoding
it again, and its first bytes (`HEAD_BYTES`) identify all of it. This module does not access the disk.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import orjson

from modelforge.errors import StoreError
from modelforge.store.migrations import MIGRATIONS, Tables

SCHEMA = len(MIGRATIONS)
HEAD_BYTES = 128  # more than the part before the tables, which holds the checksum
_HEAD = re.compile(rb'\{"modelforge":\{"schema":([1-9]\d{0,5}),"sha256":"([0-9a-f]{64})"\},"tables":')
_TAIL = b"}\n"


class DamagedFileError(Exception):
    """These bytes are not a whole registry file. Never raised outside store/."""


def encode(tables: Tables) -> bytes:
    """Tables as the bytes of a file. Raises StoreError for a value that JSON does not support."""
    try:
        # orjson: 1 ms for 1 MB where json takes 15 ms; the whole file is written at each change.
        payload = orjson.dumps(tables)
    except TypeError as error:
        raise StoreError(f"This cannot be stored in the registry: {error}.") from error
    checksum = hashlib.sha256(payload).hexdigest().encode()
    head = b'{"modelforge":{"schema":%d,"sha256":"%s"},"tables":' % (SCHEMA, checksum)
    return b"".join((head, payload, _TAIL))


def decode(data: bytes) -> tuple[Tables, int]:
    """The tables in the bytes of a file, and the number of its schema (0: a plain TinyDB file, without an envelope).

    Tables of a newer schema are returned as far as they are recognised, without checking their checksum: the newer
    version may compute it differently. Raises DamagedFileError.
    """
    head = _HEAD.match(data)
    if head is not None and int(head[1]) <= SCHEMA:
        payload = memoryview(data)[head.end() : -len(_TAIL)]
        if not data.endswith(_TAIL) or hashlib.sha256(payload).hexdigest().encode() != head[2]:
            raise DamagedFileError("the checksum does not match")
        return _parse(payload), int(head[1])
    return _decode_foreign(_parse(data))


def _decode_foreign(document: Any) -> tuple[Tables, int]:
    """Files that this version does not write: of a newer schema, or of plain TinyDB."""
    if isinstance(document, dict):
        envelope = document.get("modelforge")
        schema = envelope.get("schema") if isinstance(envelope, dict) else None
        if type(schema) is int and schema > SCHEMA:
            return _as_tables(document.get("tables")) or {}, schema
        plain = _as_tables(document)
        if plain is not None and all(number.isdigit() for table in plain.values() for number in table):
            return plain, 0
    raise DamagedFileError("there is no envelope")


def _parse(data: bytes | memoryview) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise DamagedFileError(str(error)) from error


def _as_tables(value: Any) -> Tables | None:
    """The value itself if it is a dict of tables of documents, else None."""
    fits = isinstance(value, dict) and all(
        isinstance(table, dict) and all(isinstance(document, dict) for document in table.values())
        for table in value.values()
    )
    return value if fits else None
