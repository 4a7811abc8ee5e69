"""What guests, hosts and tools say, made fit to be shown: they choose their words freely.

A terminal obeys control characters (ECMA-48) and may be had to hide a line, to rename itself or to
type; marks of direction (Unicode UAX 9) show a text in another order than it has. So neither is
shown as it is. This is done where such words come in, by commands, errors and records, and where
they go out to a person.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_UNFIT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""C0 but for tab and line feed, DEL, C1, marks of direction, separators of lines, and halves of
characters, which cannot be written."""

_MAY_HOLD = re.compile(
    rb"\\[bfr]|\\u(?:00[0189]|007f|061c|20|d[89a-f])|\x7f|\xc2[\x80-\x9f]|\xd8\x9c|\xe2[\x80\x81]",
    re.IGNORECASE,
)
"""Somewhere in a JSON document that has an unfit character; and in few others."""

_PICTURES = 0x2400
"""Unicode's pictures of C0, in its order; that of DEL is behind them, at 21 (hex)."""


def plain(text: str) -> str:
    """The text with a picture of each control character in its place; lines end by LF."""
    return _UNFIT.sub(_picture, re.sub("\r+\n", "\n", text))


def plain_record(body: bytes | str, kind: type[T]) -> T:
    """A record from its JSON, all texts in it plain; raises as msgspec.json.decode does."""
    record = msgspec.json.decode(body, type=kind)
    document = body.encode(errors="surrogatepass") if isinstance(body, str) else body
    if not _MAY_HOLD.search(document):
        return record
    return msgspec.convert(_plain_all(msgspec.to_builtins(record)), kind)


def _plain_all(value: Any) -> Any:
    match value:
        case str():
            return plain(value)
        case dict():
            return {_plain_all(key): _plain_all(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain_all(each) for each in value]
    return value


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(_PICTURES + code)
    return chr(_PICTURES + 0x21) if code == 0x7F else "\N{REPLACEMENT CHARACTER}"
