"""A lab.toml read into specs: everything that is wrong with it is told at once."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.core.errors import ConfigError
from harness.inventory import fields
from harness.inventory.checks import contradictions
from harness.inventory.lines import KeyPath, line_of, locate, syntax_error
from harness.inventory.spec import HostSpec, Inventory, PortSpec, nearest

NAME = "lab.toml"

DEEPEST = 32
"""Tables in tables, lists in lists: an inventory has five at the most."""


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong, and where."""

    line: int
    key: str
    what: str
    remedy: str = ""

    def text(self, path: Path) -> str:
        key = f"{self.key}: " if self.key else ""
        remedy = f"\n    {self.remedy}" if self.remedy else ""
        return f"{path}:{self.line}: {key}{self.what}{remedy}"


class InventoryError(ConfigError):
    """An inventory that cannot be used; `problems` in the order of their lines."""

    def __init__(self, path: Path, problems: list[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        count = len(problems)
        lines = "\n  ".join(problem.text(path) for problem in self.problems)
        super().__init__(f"{path}: {count} error{'s' if count > 1 else ''}\n  {lines}")


def find() -> Path | None:
    """The inventory that is meant if none is named: ./lab.toml, then the user's own."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return next((each for each in (Path(NAME), home / "nicproof" / NAME) if each.exists()), None)


def read(path: Path) -> Inventory:
    """The inventory in a file.

    Raises InventoryError with all that is wrong in it, ConfigError if it cannot be read.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"cannot read {path}: {reason}") from error
    return parse(text, path)


def parse(text: str, path: Path) -> Inventory:
    """The inventory that a text describes; paths in it are relative to the directory of `path`."""
    try:
        document = tomllib.loads(text)
        if _depth(document) > DEEPEST:
            raise RecursionError
    except tomllib.TOMLDecodeError as error:
        line, message = syntax_error(error, text)
        raise InventoryError(path, [Problem(line, "", f"no TOML: {message}")]) from error
    except RecursionError:
        raise ConfigError(f"{path}: it is nested too deeply") from None
    except ValueError as error:  # a number of thousands of digits
        raise ConfigError(f"{path}: no TOML that can be read: {error}") from error
    reader = _Reader(locate(text), path.absolute().parent)
    inventory = reader.inventory(document, path)
    if reader.problems:
        raise InventoryError(path, reader.problems)
    return inventory


def _depth(document: object) -> int:
    """Of tables in tables, and lists in lists."""
    deepest, left = 0, [(document, 1)]
    while left:
        value, depth = left.pop()
        deepest = max(deepest, depth)
        inside = value.values() if isinstance(value, dict) else value
        if isinstance(inside, Iterable) and not isinstance(inside, str):
            left += [(each, depth + 1) for each in inside]
    return deepest


class _Reader:
    """One pass over a document that collects what is wrong in it."""

    def __init__(self, where: dict[KeyPath, int], base: Path) -> None:
        self.problems: list[Problem] = []
        self._where = where
        self._base = base

    def inventory(self, document: dict[str, Any], path: Path) -> Inventory:
        self._known(document, ("lab", "host"), ())
        lab = self._fields(self._table(document, "lab", ()) or {}, fields.LAB, ("lab",))
        tables = self._table(document, "host", ()) or {}
        coordinator = lab.pop("labgrid", "")
        hosts = tuple(_placed(self._host(name, tables), coordinator) for name in tables)
        if not tables:
            self._wrong((), "it names no host", "begin one with [host.NAME]")
        elif not self.problems:  # of what is half read nothing more can be said
            for at, what, remedy in contradictions(hosts):
                self._wrong(at, what, remedy)
        return Inventory(path, hosts, **lab)

    def _host(self, name: str, tables: dict[str, Any]) -> HostSpec:
        at: KeyPath = ("host", name)
        self._value(fields.host_name, name, at)
        table = self._table(tables, name, ("host",))
        if table is None:
            return HostSpec(name=name, address="")
        ports = table.get("port", [])
        if not isinstance(ports, list) or not all(isinstance(port, dict) for port in ports):
            remedy = f"write [[{_shown((*at, 'port'))}]]; the port of its sshd is ssh_port"
            self._wrong((*at, "port"), "it is no table of ports", remedy)
            ports = []
        given = self._fields(table, fields.HOST, at, required="address", tables=("port",))
        for key in ("identity", "ssh_config", "known_hosts"):
            if key in given:
                given[key] = self._base / given[key]
        specs = (self._port(name, port, (*at, "port", index)) for index, port in enumerate(ports))
        return HostSpec(name=name, ports=tuple(specs), **given)

    def _port(self, host: str, table: dict[str, Any], at: KeyPath) -> PortSpec:
        port = PortSpec(**self._fields(table, fields.PORT, at, required="bdf"))
        if port.partner is not None and not port.partner.host:
            return replace(port, partner=replace(port.partner, host=host))
        return port

    def _fields(
        self,
        table: dict[str, Any],
        known: Mapping[str, fields.Field],
        at: KeyPath,
        *,
        required: str = "",
        tables: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        """What a table says, read; the required key is in it whatever happens."""
        self._known(table, (*known, *tables), at)
        if required and required not in table:
            self._wrong(at, f"it has no {required}", f"add a line: {required} = ...")
        read = {
            key: self._value(known[key], value, (*at, key))
            for key, value in table.items()
            if key in known
        }
        given = {key: value for key, value in read.items() if value is not None}
        return {required: "", **given} if required else given

    def _value(self, field: fields.Field, value: object, at: KeyPath) -> Any:
        """The value as its field reads it, None if it is wrong."""
        try:
            return field(value)
        except ConfigError as error:
            self._wrong(at, error.message, error.remedy)
            return None

    def _table(self, table: dict[str, Any], key: str, at: KeyPath) -> dict[str, Any] | None:
        """The table of this name, an empty one if it is absent, None if it is something else."""
        found = table.get(key, {})
        if isinstance(found, dict):
            return found
        self._wrong((*at, key), "it is no table", f"write [{_shown((*at, key))}]")
        return None

    def _known(self, table: dict[str, Any], keys: tuple[str, ...], at: KeyPath) -> None:
        for key in table:
            if key not in keys:
                self._wrong((*at, key), "there is no such key", nearest(key, keys))

    def _wrong(self, at: KeyPath, what: str, remedy: str) -> None:
        self.problems.append(Problem(line_of(self._where, at), _shown(at), what, remedy))


def _placed(host: HostSpec, coordinator: str) -> HostSpec:
    """The host, its place with the coordinator of the whole file."""
    if host.place is None:
        return host
    return replace(host, place=replace(host.place, coordinator=coordinator))


def _shown(at: KeyPath) -> str:
    """A path as people write it: host.alpha.port[0].bdf."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{_key(part)}" for part in at)
    return "".join(parts).removeprefix(".")


def _key(name: str) -> str:
    return name if fields.NAME.fullmatch(name) else repr(name)
