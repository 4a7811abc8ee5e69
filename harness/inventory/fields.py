"""The values of an inventory, each read by a function that says what is wrong with it.

Names and addresses end up in argument lists of ssh and ip, so what is not plainly a name or an
address is refused here, above all a leading "-", which would make it an option.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import msgspec

from harness.core.errors import ConfigError
from harness.hosts.sshpath import UNSAYABLE
from harness.inventory.spec import LOCAL, Become, Place, PortRef, nearest
from harness.journal.permissions import PERMISSIONS, BindMode, Holder, Permission
from harness.pci.address import Address
from harness.pci.profiles import profiles

T = TypeVar("T")
Field = Callable[[object], Any]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
USER = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*")
_USER = r"(?:[A-Za-z_][A-Za-z0-9._-]*@)?"
_HOST = r"[A-Za-z0-9][A-Za-z0-9._-]*"
DESTINATION = re.compile(rf"{_USER}(?:{_HOST}|[0-9a-fA-F]*:[0-9a-fA-F:.]+)")
"""[USER@]HOST, where HOST is a name, an alias of ssh's configuration, or an IP address."""
_JUMP = rf"{_USER}{_HOST}(?::[0-9]+)?"
JUMP = re.compile(rf"{_JUMP}(?:,{_JUMP})*")
COORDINATOR = re.compile(rf"{_HOST}(?::[0-9]+)?")
CPUS = re.compile(r"(\d+)(?:-(\d+)(?::(\d+)/(\d+))?)?", re.ASCII)
MOST_CPUS = 8192
"""Largest CONFIG_NR_CPUS of x86 (arch/x86/Kconfig, NR_CPUS_RANGE_END)."""


def typed(value: object, kind: type[T]) -> T:
    """The value, if it is of that type."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(str(error)) from error


def text(value: object) -> str:
    """Any text that is fit to be printed."""
    message = typed(value, str)
    if not message.isprintable():
        raise ConfigError(f"{message!r} has characters that cannot be printed")
    return message


def host_name(value: object) -> str:
    return _matching(value, NAME, "a name", "use letters, digits, '.', '_' and '-'")


def destination(value: object) -> str:
    remedy = f'write "{LOCAL}" or what you would give to ssh, such as "alpha.lab" or "root@alpha"'
    return _matching(value, DESTINATION, "an ssh destination", remedy)


def jump(value: object) -> str:
    return _matching(value, JUMP, "a jump host", 'write it as for ssh -J, such as "bastion"')


def user(value: object) -> str:
    return _matching(value, USER, "a user's name", "use letters, digits, '.', '_' and '-'")


def coordinator(value: object) -> str:
    remedy = 'write it as for labgrid-client -x, such as "lab.example:20408"'
    return _matching(value, COORDINATOR, "an address of a labgrid coordinator", remedy)


def place(value: object) -> Place:
    """Its coordinator stands elsewhere in the file, and is "" here."""
    return Place("", _matching(value, NAME, "a name", "use letters, digits, '.', '_' and '-'"))


def tcp_port(value: object) -> int:
    return _within(value, 1, 65535, "a TCP port")


def numa_node(value: object) -> int:
    return _within(value, 0, 1023, "a NUMA node")  # MAX_NUMNODES with CONFIG_NODES_SHIFT=10


def hugepages(value: object) -> int:
    return _within(value, 0, 1 << 30, "a number of 2 MiB pages")


def path(value: object) -> Path:
    text = typed(value, str)
    if not text or text.startswith("-") or UNSAYABLE.search(text):
        raise ConfigError(
            f"{text!r} is no path that ssh would take literally",
            remedy="without a leading '-', '${' and control characters",
        )
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # ~somebody, who is not known here
        raise ConfigError(f"{text!r}: {error}", remedy="write the whole path") from error


def cpu_list(value: object) -> tuple[int, ...]:
    """CPUs of a list as Linux writes them (Documentation/admin-guide/kernel-parameters.rst, cpu
    lists): "2-7,10", "0-31:2/4". Rising, each once."""
    text = typed(value, str)
    found: set[int] = set()
    for part in text.split(","):
        match = CPUS.fullmatch(part.strip())
        if match is None:
            raise ConfigError(f"{text!r} is no list of CPUs", remedy='write it like "2-7,10"')
        first, last, used, group = (int(number) if number else None for number in match.groups())
        assert first is not None
        last = first if last is None else last
        used, group = (1, 1) if used is None or group is None else (used, group)
        if last < first or last >= MOST_CPUS or not 0 < used <= group:
            raise ConfigError(
                f"{part.strip()!r} is no range of CPUs",
                remedy=f"the first comes first, and Linux has at most {MOST_CPUS}",
            )
        found |= {cpu for cpu in range(first, last + 1) if (cpu - first) % group < used}
    return tuple(sorted(found))


def permissions(value: object) -> frozenset[Permission]:
    words = typed(value, list[str])
    for word in words:
        if word not in PERMISSIONS:
            raise ConfigError(
                f"{word!r} is nothing that can be allowed", remedy=nearest(word, PERMISSIONS)
            )
    return cast(frozenset[Permission], frozenset(words))


def become(value: object) -> Become:
    return cast(Become, _one_of(value, get_args(Become)))


def bind_mode(value: object) -> BindMode:
    return cast(BindMode, _one_of(value, get_args(BindMode)))


def holder(value: object) -> Holder:
    return cast(Holder, _one_of(value, get_args(Holder)))


def bdf(value: object) -> str:
    return str(Address.parse(typed(value, str)))


def model(value: object) -> str:
    name = typed(value, str)
    known = [each.model for each in profiles().values() if not each.generic]
    if name not in known:
        raise ConfigError(f"no profile of a model {name!r}", remedy=nearest(name, known))
    return name


def partner(value: object) -> PortRef:
    """Of a port on the same host the `host` is ""."""
    host, slash, port = typed(value, str).rpartition("/")
    return PortRef(host_name(host) if slash else "", str(Address.parse(port)))


def _matching(value: object, pattern: re.Pattern[str], what: str, remedy: str) -> str:
    text = typed(value, str)
    if not pattern.fullmatch(text):
        raise ConfigError(f"{text!r} is not {what}", remedy=remedy)
    return text


def _one_of(value: object, known: tuple[str, ...]) -> str:
    word = typed(value, str)
    if word not in known:
        raise ConfigError(f"{word!r} is none of {', '.join(known)}", remedy=nearest(word, known))
    return word


def _within(value: object, least: int, most: int, what: str) -> int:
    number = typed(value, int)
    if not least <= number <= most:
        raise ConfigError(f"{number} is not {what}", remedy=f"from {least} to {most}")
    return number


LAB: dict[str, Field] = {"name": text, "labgrid": coordinator}

HOST: dict[str, Field] = {
    "address": destination,
    "jump": jump,
    "user": user,
    "become": become,
    "ssh_port": tcp_port,
    "identity": path,
    "ssh_config": path,
    "known_hosts": path,
    "cpus": cpu_list,
    "numa": numa_node,
    "hugepages": hugepages,
    "may": permissions,
    "bind": bind_mode,
    "hold": holder,
    "place": place,
}

PORT: dict[str, Field] = {"bdf": bdf, "model": model, "partner": partner}
