"""What a kernel log says of the devices under test. Pure.

A line counts if it is about one of them, or about nothing less than the kernel. Which words blame
whom is data: harness.pci.messages. What may be a fault and may be none is suspect.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from harness.core.errors import ConfigError
from harness.pci.address import Address
from harness.pci.messages import Blames, Saying, sayings

OF_PATHS = re.compile(
    r"8021q|bridge|iommufd|irqbypass|kvm\w*|macv\w+|tap|tun|veth|vfio\w*|vhost\w*"
)
"""Modules that paths into a guest are made of, besides the drivers of the ports."""

NO_DRIVERS = frozenset({"pci", "pcieport"})
"""Names in a driver's place that say nothing of whose device it is."""

ERROR = 3
"""KERN_ERR (include/linux/kern_levels.h): of a device, words that are not known are suspect."""

LONGEST = 200
"""Lines of one trace; a log that was cut may lack its end."""

_BDF = r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]"
_RAW = re.compile(r"(?:<(?P<priority>\d+)>)?(?P<stamp>(?:\[[ 0-9.TC]+\] ?)*)(?P<text>.*)")
_OF_DEVICE = re.compile(
    rf"(?P<driver>[\w.-]+) (?P<bdf>{_BDF})(?: (?P<interface>[^\s:(]+))?(?: \([^)]*\))*: "
    r"(?P<body>.*)"
)
_OF_DRIVER = re.compile(r"(?P<name>[^\s:]+): ")
_NAMED = re.compile(
    rf"(?<![\w:])(?:{_BDF}|(?<=\[)[0-9a-f]{{2}}:[01][0-9a-f]\.[0-7](?=\])"
    r"|(?<=device=)[0-9a-f]{2}:[01][0-9a-f]\.[0-7])(?!\w)"
)
_CUT = re.compile(r"-+\[ cut here \]-+")
_BEGINS = re.compile(
    r"-+\[ cut here \]-+|(?:watchdog: )?BUG: |Oops: |general protection fault|WARNING: |"
    r"INFO: task .* blocked for more than|rcu: INFO: .*stall|irq \d+: nobody cared|UBSAN: "
)
_ENDS = re.compile(r"---\[ end trace| *</TASK>|Disabling IRQ #")
_CODE = re.compile(r"(?:\+0x[0-9a-f]+/0x[0-9a-f]+|\[<.*>\] \w+) \[(?P<module>\w+)")

Whose = Literal["ours", "perhaps", "others", "nobody"]


@dataclass(frozen=True)
class LogLine:
    """One line of `dmesg --raw`."""

    text: str  # without priority and time
    stamp: str = ""
    level: int | None = None  # None: not told
    kernel: bool = True  # said by the kernel itself, not by a program through /dev/kmsg
    driver: str = ""  # of the device that it names in front, if it does
    function: Address | None = None
    interface: str = ""
    body: str = ""  # what stands behind that name

    @classmethod
    def parse(cls, raw: str) -> LogLine:
        """From "<3>[  12.345678] igb 0000:01:00.0 eth0: text"; priority and time may be missing."""
        found = _RAW.fullmatch(raw)
        assert found is not None, "everything in it is optional"
        text, priority = found["text"], found["priority"]
        line = cls(text, found["stamp"].strip(), body=text)
        if priority is not None:
            facility, level = divmod(int(priority), 8)  # RFC 5424, 6.2.1
            line = replace(line, level=level, kernel=facility == 0)
        if device := _OF_DEVICE.fullmatch(text):
            line = replace(
                line,
                driver=device["driver"],
                function=Address.parse(device["bdf"]),
                interface=device["interface"] or "",
                body=device["body"],
            )
        return line

    @property
    def description(self) -> str:
        return f"{self.stamp} {self.text}".strip()


@dataclass(frozen=True)
class Watched:
    """Whose lines count: functions, the drivers that have them, and their interfaces."""

    functions: frozenset[Address] = frozenset()
    drivers: frozenset[str] = frozenset()
    interfaces: frozenset[str] = frozenset()

    def with_names_in(self, lines: Iterable[LogLine]) -> Watched:
        """Also drivers and interfaces that the lines themselves name beside one of the functions:
        VFs come and go, with names of their own."""
        ours = [line for line in lines if line.function in self.functions]
        drivers = {line.driver for line in ours} - NO_DRIVERS
        interfaces = {line.interface for line in ours if line.interface}
        return replace(
            self, drivers=self.drivers | drivers, interfaces=self.interfaces | interfaces
        )

    @property
    def modules(self) -> frozenset[str]:
        return frozenset(driver.replace("-", "_") for driver in self.drivers)


@dataclass(frozen=True)
class Found:
    """What a log says, by whom it blames; in the order of the log, the same words once."""

    product: tuple[str, ...] = ()
    rig: tuple[str, ...] = ()
    suspect: tuple[str, ...] = ()


def judge(log: Sequence[str], watched: Watched, allowed: str = "") -> Found:
    """What lines of `dmesg --raw` say of the watched; `allowed` is a regular expression of lines
    that somebody means to provoke."""
    lines = [line for line in map(LogLine.parse, log) if line.kernel]
    watched = watched.with_names_in(lines)
    times: dict[tuple[Blames, str], list[str]] = {}
    for incident in _incidents(lines):
        line, blames = _blame(incident, watched)
        if blames != "nobody" and not (allowed and re.search(allowed, line.text)):
            times.setdefault((blames, line.text), []).append(line.description)
    judged: dict[Blames, list[str]] = {"product": [], "rig": [], "suspect": []}
    for (blames, _), texts in times.items():
        judged[blames].append(f"{texts[0]} ({len(texts)} times)" if len(texts) > 1 else texts[0])
    return Found(**{blames: tuple(lines) for blames, lines in judged.items()})


def _incidents(lines: Sequence[LogLine]) -> list[tuple[LogLine, ...]]:
    """Lines that belong together: a trace as a whole, from its first line to its last. Devices that
    speak in the middle of it have lines of their own."""
    found: list[tuple[int, tuple[LogLine, ...]]] = [
        (at, (line,)) for at, line in enumerate(lines) if line.function is not None
    ]
    others = [(at, line) for at, line in enumerate(lines) if line.function is None]
    while others:
        length = _length([line for _, line in others[:LONGEST]])
        found.append((others[0][0], tuple(line for _, line in others[:length])))
        others = others[length:]
    return [incident for _, incident in sorted(found, key=lambda each: each[0])]


def _length(lines: Sequence[LogLine]) -> int:
    """How many of the lines are the first one's trace; 1 without an end before another begins."""
    if _BEGINS.match(lines[0].text):
        for at, line in enumerate(lines[1:], 2):
            if _ENDS.match(line.text):
                return at
            if _CUT.match(line.text):
                break
    return 1


def _blame(incident: tuple[LogLine, ...], watched: Watched) -> tuple[LogLine, Blames]:
    """The line that tells of it, and whom it blames."""
    known = ((line, _known(line)) for line in incident)
    line, saying, match = next(
        ((line, *found) for line, found in known if found is not None), (incident[0], None, None)
    )
    if saying is None:
        serious = line.level is not None and line.level <= ERROR
        ours = serious and _whose(line, None, watched) == "ours"
        return line, "suspect" if ours else "nobody"
    if len(incident) > 1:
        return line, _blame_of_trace(incident, saying, watched)
    whose = _whose(line, match, watched)
    if whose == "others" or saying.blames == "nobody":
        return line, "nobody"
    return line, "suspect" if whose == "perhaps" else saying.blames


def _blame_of_trace(trace: tuple[LogLine, ...], saying: Saying, watched: Watched) -> Blames:
    """A trace that goes through a driver of ours is the product's, one only through others' is
    suspect: what broke there may have been broken by ours."""
    code = (line.text for line in trace if not line.text.startswith("Modules linked in"))
    modules = {found["module"] for text in code for found in _CODE.finditer(text)}
    whose = [_whose(line, found[1], watched) for line in trace if (found := _known(line))]
    ours = any(name in watched.modules or OF_PATHS.fullmatch(name) for name in modules)
    if ours or "ours" in whose:
        return "product"
    return "suspect" if modules or "others" in whose or "perhaps" in whose else saying.blames


def _known(line: LogLine) -> tuple[Saying, re.Match[str]] | None:
    for saying in sayings(line.driver):
        if match := saying.expression.search(line.body):
            return saying, match
    return None


def _whose(line: LogLine, match: re.Match[str] | None, watched: Watched) -> Whose:
    """Functions that are named in the text say more than the one in front of it, which may be the
    port that tells of another."""
    fields = match.groupdict() if match is not None else {}
    functions = set(_functions(line.body))
    if line.function is not None and not functions:
        functions = {line.function}
    if functions:
        return "ours" if functions & watched.functions else "others"
    if source := int(fields.get("source") or "0", 16):
        ours = source in {function.routing_id for function in watched.functions}
        return "ours" if ours else "perhaps"
    interface, driver = fields.get("interface"), fields.get("driver")
    if interface in watched.interfaces:
        return "ours"
    if interface or driver:
        return "perhaps" if driver in watched.drivers else "others"
    name = _OF_DRIVER.match(line.text)
    named = name is not None and name["name"] in watched.drivers | watched.interfaces
    return "ours" if named else "nobody"


def _functions(text: str) -> Iterator[Address]:
    for found in _NAMED.finditer(text):
        with suppress(ConfigError):
            yield Address.parse(found[0])
