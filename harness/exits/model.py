"""Exit reasons and their counts, as the host's kernel writes them. Pure functions.

Names come from the print format of the kernel's own kvm_exit event (arch/x86/kvm/trace.h), which
holds one list for VMX and one for SVM; no table is kept here that could grow old.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from harness.core.errors import LabError
from harness.records.trial import ExitCount

Isa = Literal["vmx", "svm"]
Reasons = Mapping[int, str]
"""Exit code -> name."""

VMX_REASON = 0xFFFF
"""Mask of the basic exit reason in VMX's 32 bits; above it are flags such as a failed entry
(Intel SDM vol. 3, "Basic VM-Exit Information"). SVM's codes use all bits."""

_WORD = 0xFFFFFFFF
_PRINT = re.compile(r"__print_(symbolic|flags)\(")
_PAIR = re.compile(r'\{\s*([^,{}]+?)\s*,\s*"([^"]*)"\s*\}')
_BUCKET = re.compile(r"(\d+): \{(\d+),(\d+),(\d+),?\}")
_VCPU = re.compile(r"(\d+),(\d+),(\d+),(\d+),(\d+),(\d+),")
_VCPUS = re.compile(rf"0: \{{((?:{_VCPU.pattern})+)\}}")
_ID = re.compile(r"^ID: (\d+)$", re.MULTILINE)
_REASON_FIELD = re.compile(r"\sexit_reason;\s*offset:(\d+);\s*size:4;")


def parse_reasons(text: str) -> dict[Isa, dict[int, str]]:
    """The two lists in `events/kvm/kvm_exit/format`; LabError if they are not where they were.

    The print format reads `(REC->isa == 1) ? __print_symbolic(..VMX..) : __print_symbolic(..SVM..)`
    and isa 1 is VMX (KVM_ISA_VMX).
    """
    heads = list(_PRINT.finditer(text))
    lists: list[dict[int, str]] = []
    for head, following in zip_longest(heads, heads[1:]):
        if head[1] == "symbolic":
            body = text[head.end() : following.start() if following else len(text)]
            lists.append(_names(body))
    start = text[: heads[0].start()].rstrip() if heads else ""
    if len(lists) != 2 or not all(lists) or not start.endswith("(REC->isa == 1) ?"):
        raise LabError(
            "the format of the kvm_exit event is not the known one: "
            f"{len(lists)} lists of reasons, expected one for VMX and one for SVM",
            remedy="measure without exit accounting, and report the kernel's version",
        )
    return {"vmx": lists[0], "svm": lists[1]}


def _names(body: str) -> dict[int, str]:
    pairs = _PAIR.findall(body)
    if len(pairs) != body.count("{"):
        raise LabError(
            f"the format of the kvm_exit event has a list that breaks off: {body[-80:]!r}"
        )
    return {_code(expression): name for expression, name in pairs}


def _code(expression: str) -> int:
    """A code as the kernel's sources write it: 12, 0x400, -1, or a sum such as 0x040 + 14."""
    try:
        return sum(int(term, 0) for term in expression.split("+")) & _WORD
    except ValueError:
        raise LabError(f"not an exit code in the kvm_exit event: {expression!r}") from None


def parse_event(text: str) -> tuple[int, int]:
    """The id of the kvm_exit event, and the offset in bytes of exit_reason in it, from `format`."""
    number, field = _ID.search(text), _REASON_FIELD.search(text)
    if number is None or field is None:
        raise LabError("the format of the kvm_exit event has no ID, or no exit_reason of 4 bytes")
    return int(number[1]), int(field[1])


@dataclass(frozen=True)
class Bucket:
    """Exits of one code by one vCPU; their summed time, and how much of it on a CPU (ns)."""

    count: int = 0
    time_ns: int = 0
    cpu_ns: int = 0


@dataclass(frozen=True)
class Vcpu:
    """What a vCPU thread is at, as loader.py notes it (VCPU there), times in ns."""

    since: int  # an exit of code `reason` began then; 0: it is in the guest
    reason: int
    ended: int  # exits so far
    out: int = 0  # it left its CPU then; 0: it is known to be back
    away: int = 0  # off its CPU before that, in this exit
    guest_away: int = 0  # off its CPU while in no exit, in sum

    def going_on(self, at_ns: int) -> Bucket:
        """The exit that goes on, as far as it had come by then."""
        time = max(at_ns - self.since, 0)
        return Bucket(0, time, min(max(time - self._away(at_ns), 0), time))

    def away_in_guest(self, at_ns: int) -> int:
        """Time off its CPU in no exit, by then."""
        return self.guest_away + (0 if self.since else self._away(at_ns))

    def _away(self, at_ns: int) -> int:
        """Whether it came back since it left is only seen at its next entry or switch. So if it is
        back at that moment, what it did since then counts as away."""
        return self.away + (max(at_ns - self.out, 0) if self.out else 0)


Exits = Mapping[tuple[int, int], Bucket]
"""By vCPU, counted from 0, and code."""


def parse_vcpus(text: str) -> tuple[Vcpu, ...]:
    """The kernel's print of the vCPUs' records; LabError as for `parse_counts`."""
    lines = _lines(text)
    found = _VCPUS.fullmatch(lines[0]) if len(lines) == 1 else None
    if found is None:
        raise LabError(f"not a line of vCPUs: {lines!r}")
    return tuple(Vcpu(*map(int, each.groups())) for each in _VCPU.finditer(found[1]))


def parse_counts(text: str) -> dict[tuple[int, int], Bucket]:
    """Buckets by vCPU and exit code, from the kernel's print of the map that loader.py pins.

    Raises LabError if a line is not understood: the kernel does not promise this format.
    """
    buckets = {}
    for line in _lines(text):
        found = _BUCKET.fullmatch(line)
        if found is None:
            raise LabError(f"not a line of exit counts: {line!r}")
        key, *values = (int(value) for value in found.groups())
        buckets[divmod(key, 1 << 32)] = Bucket(*values)
    return buckets


def _lines(text: str) -> list[str]:
    """A map's print without its heading; LabError if it is not whole."""
    lines = text.splitlines()
    if not text.startswith("#") or not text.endswith("\n"):
        raise LabError(f"exit counts that are not whole: {text[-200:]!r}")
    return [line for line in lines if line and not line.startswith("#")]


def name_of(code: int, isa: Isa, reasons: Reasons) -> str:
    """The kernel's name of an exit code, or the code in hex if it has none.

    Flags above a VMX reason are appended: "INVALID_STATE+0x80000000" is a failed entry.
    """
    basic = code & VMX_REASON if isa == "vmx" else code
    name = reasons.get(basic, f"{basic:#x}")
    return name if basic == code else f"{name}+{code - basic:#x}"


@dataclass(frozen=True)
class Edge:
    """What was read at one edge of a window, vCPUs first."""

    at_ns: int  # when the vCPUs' records were read, on the host's monotonic clock
    vcpus: tuple[Vcpu, ...]
    exits: Exits

    @property
    def going_on(self) -> dict[int, Vcpu]:
        """vCPUs, by number, with an exit that had not ended at this edge.

        If an exit ended between the two readings, it stands in `exits` already and still in
        `vcpus`; the vCPU's numbers then differ. What goes on since is some microseconds old.
        """
        counted: Counter[int] = Counter()
        for (number, _), bucket in self.exits.items():
            counted[number] += bucket.count
        return {
            number: vcpu
            for number, vcpu in enumerate(self.vcpus)
            if vcpu.since and vcpu.ended == counted[number]
        }

    @property
    def away_in_guest(self) -> int:
        """Time of all vCPUs off their CPUs while in no exit."""
        return sum(vcpu.away_in_guest(self.at_ns) for vcpu in self.vcpus)


def exits_between(
    opening: Edge, closing: Edge, isa: Isa, reasons: Reasons
) -> tuple[ExitCount, ...]:
    """The exits that ended between two edges, and the time of all exits that lies between them;
    by reason, sorted by name.

    An exit that went on at the opening counts whole once it has ended, and what it had come to by
    then is taken off again; of one that goes on at the closing what it has come to is added.
    """
    counts, times, spent = Counter[str](), Counter[str](), Counter[str]()

    def count(code: int, bucket: Bucket, sign: int) -> None:
        name = name_of(code, isa, reasons)
        counts[name] += sign * bucket.count
        times[name] += sign * bucket.time_ns
        spent[name] += sign * bucket.cpu_ns

    for edge, sign in ((closing, 1), (opening, -1)):
        for (_, code), bucket in edge.exits.items():
            count(code, bucket, sign)
        for vcpu in edge.going_on.values():
            count(vcpu.reason, vcpu.going_on(edge.at_ns), sign)
    return tuple(
        ExitCount(
            reason=name,
            count=counts[name],
            time_ns=max(times[name], 0),
            cpu_ns=max(spent[name], 0),
        )
        for name in sorted(times)
        if counts[name] or times[name] > 0
    )
