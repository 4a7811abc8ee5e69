"""Options are declared once, as the annotated fields of structs. What argparse and pytest register,
what may be said, and the JSON that carries what was said are all derived from there.

    class Single(msgspec.Struct, frozen=True):
        boots: Annotated[int, says("boots of each path", metavar="N", ge=1, le=1000)] | None = None

is `--boots N`. Every number has bounds and every text a greatest length; of a text that is not free
some `examples` are given. (The tests send all of these the whole way.)
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from harness.core.errors import ConfigError

T = TypeVar("T", bound=msgspec.Struct)

PATH_MAX, LINE_MAX = 4096, 1024
"""Characters: of a file's name, as limits.h of Linux has it; of any other text, half of what the
kernel's own command line may have (COMMAND_LINE_SIZE of x86)."""

NAMES = "NAMES"
"""The metavar of a list with commas."""

_SHOWN = 60  # characters of a wrong value


def says(
    help: str, *, metavar: str = "", flag: str = "", words: Sequence[str] = (), **bounds: Any
) -> msgspec.Meta:
    """The annotation of an option; `bounds` as msgspec.Meta takes them. Its flag is "--" and the
    field's name unless another is said. `words` are what a shell completes it with."""
    extra = {"metavar": metavar, "flag": flag, "words": tuple(words)}
    return msgspec.Meta(description=help, extra=extra, **bounds)


Kind = (
    inspect.BoolType
    | inspect.IntType
    | inspect.FloatType
    | inspect.StrType
    | inspect.LiteralType
    | inspect.VarTupleType  # of texts: an option that may be given several times
)


@dataclass(frozen=True)
class Option:
    """One command-line option, as a field of a struct declares it."""

    name: str  # of the field, and of the attribute of a parsed namespace
    flag: str
    kind: Kind
    help: str
    metavar: str
    examples: tuple[str, ...]
    words: tuple[str, ...] = ()  # that a shell completes it with

    @property
    def takes_several(self) -> bool:
        """Words with commas between them."""
        return self.metavar == NAMES

    def read(self, text: Any) -> Any:
        """The value that was said; ConfigError if it cannot be one."""
        match self.kind:
            case inspect.BoolType():
                return bool(text)
            case inspect.LiteralType(values=values):
                if text not in values:
                    raise self._wrong(text, f"one of {', '.join(map(str, values))}")
                return text
            case inspect.StrType(min_length=least, max_length=most):
                return self._text(text, least or 0, most)
            case inspect.IntType(ge=low, le=high):
                return self._number(int, text, low, high, "a whole number")
            case inspect.FloatType(ge=low, le=high):
                return self._number(float, text, low, high, "a number")
            case inspect.VarTupleType():
                return tuple(self._text(each, 1, LINE_MAX) for each in text)

    def _text(self, text: str, least: int, most: int | None) -> str:
        if len(text) < least:
            raise ConfigError(f"{self.flag}: it is empty", remedy="say something, or leave it out")
        if most is not None and len(text) > most:
            raise self._wrong(text, f"{most} characters at the most, not {len(text)},")
        if not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text):
            raise self._wrong(text.encode(errors="replace").decode(), "UTF-8")
        return text

    def _number(
        self,
        convert: Callable[[str], float],
        text: str,
        low: float | None,
        high: float | None,
        what: str,
    ) -> float:
        within = "" if low is None or high is None else f" from {_plain(low)} to {_plain(high)}"
        try:
            value = convert(text)
        except ValueError:
            raise self._wrong(text, what + within) from None
        small, large = low is not None and value < low, high is not None and value > high
        if small or large or not math.isfinite(value):
            raise self._wrong(text, what + within)
        return value

    def _wrong(self, text: str, wanted: str) -> ConfigError:
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        return ConfigError(f"{self.flag} {shown}: {wanted} is needed")


def _plain(bound: float) -> str:
    return str(int(bound)) if bound == int(bound) else str(bound)


@cache
def options_of(*kinds: type[msgspec.Struct]) -> tuple[Option, ...]:
    """The options that structs declare, in order; of a struct within a struct likewise."""
    found: list[Option] = []
    for kind in kinds:
        described = inspect.type_info(kind)
        assert isinstance(described, inspect.StructType)
        for field in described.fields:
            if isinstance(field.type, inspect.StructType):
                found += options_of(field.type.cls)
            elif (declared := _declared(field.type)) is not None:
                found.append(_option(field.name, declared))
    return tuple(found)


def _declared(type_: inspect.Type) -> inspect.Metadata | None:
    """The annotation of a field that is an option; one that is None unless given is a union."""
    types = type_.types if isinstance(type_, inspect.UnionType) else (type_,)
    return next((each for each in types if isinstance(each, inspect.Metadata)), None)


def _option(name: str, declared: inspect.Metadata) -> Option:
    schema, more = declared.extra_json_schema or {}, declared.extra or {}
    kind: Any = declared.type
    return Option(
        name=name,
        flag=more["flag"] or "--" + name.replace("_", "-"),
        kind=kind,
        help=schema["description"],
        metavar=more["metavar"],
        examples=tuple(schema.get("examples", ())),
        words=tuple(map(str, kind.values))
        if isinstance(kind, inspect.LiteralType)
        else more["words"],
    )


def add_to(add: Callable[..., Any], options: Iterable[Option]) -> None:
    """Register options with argparse's or pytest's adding function. Both leave them unread, None if
    they are not given."""
    for each in options:
        if isinstance(each.kind, inspect.BoolType):
            add(each.flag, dest=each.name, help=each.help, action="store_true", default=None)
        else:
            metavar = each.metavar or None
            if isinstance(each.kind, inspect.VarTupleType):
                add(each.flag, dest=each.name, help=each.help, metavar=metavar, action="append")
                continue
            if isinstance(each.kind, inspect.LiteralType):
                metavar = f"{{{','.join(map(str, each.kind.values))}}}"
            add(each.flag, dest=each.name, help=each.help, metavar=metavar, default=None)


def given_of(given: object, options: Iterable[Option]) -> dict[str, Any]:
    """The values of the options that were given, by their names; ConfigError for a wrong one."""
    pairs = ((each, getattr(given, each.name, None)) for each in options)
    return {each.name: each.read(text) for each, text in pairs if text is not None}


def said(given: object, options: Iterable[Option]) -> list[str]:
    """The options that were given, as one types them: for another command that has them, too."""
    pairs = ((each, getattr(given, each.name, None)) for each in options)
    return [
        each.flag if text is True else f"{each.flag}={text}"
        for each, one_or_several in pairs
        if one_or_several is not None
        for text in (one_or_several if isinstance(one_or_several, list) else [one_or_several])
    ]


def read(kind: type[T], given: object) -> T:
    """What a parsed namespace says of the options of a struct; ConfigError names a wrong one."""
    return kind(**given_of(given, options_of(kind)))


def nonempty(text: str) -> str:
    """The `type` of an argument of argparse's that is no Option: what is given is something, lest a
    shell's unset variable do something else than what was meant."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty")
    return text


def names(text: str) -> tuple[str, ...]:
    """The parts of a list with commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
