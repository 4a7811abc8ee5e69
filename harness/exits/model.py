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

from harness.errors import LabError
from harness.measure.record import ExitCount

Isa = Literal["vmx", "svm"]
Reasons = Mapping[int, str]
"""Exit code -> name."""

VMX_REASON = 0xFFFF
"""Mask of the basic exit reason in VMX's 32 bits; above it are flags such as a failed entry
(Intel SDM vol. 3, "Basic VM-Exit Information"). SVM's codes use all bits."""

_WORD = 0xFFFFFFFF
_PRINT = re.compile(r"__print_(symbolic|flags)\(")
_PAIR = re.compile(r'\{\s*([^,{}]+?)\s*,\s*"([^"]*)"\s*\}')
_BUCKET = re.compile(r"\{ reason:\s*(\d+) \} hitcount:\s*(\d+)\s+lat:\s*(\d+)\s*")
_DROPPED = re.compile(r"^\s*Dropped:\s*(\d+)\s*$", re.MULTILINE)


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


@dataclass(frozen=True)
class Bucket:
    """One line of the histogram: exits of one code and their summed handling time."""

    code: int
    count: int
    time_ns: int


def parse_histogram(text: str) -> tuple[Bucket, ...]:
    """A histogram of `hist:keys=reason:vals=hitcount,lat`; its order is kept.

    Raises LabError if a line is not understood, or if the kernel dropped events, in which case the
    counts would be too low.
    """
    buckets = []
    for line in text.splitlines():
        if line.startswith("{"):
            found = _BUCKET.fullmatch(line)
            if found is None:
                raise LabError(f"not a line of an exit histogram: {line!r}")
            buckets.append(Bucket(*(int(value) for value in found.groups())))
    dropped = _DROPPED.search(text)
    if dropped is None:
        raise LabError(f"an exit histogram without its totals: {text[-200:]!r}")
    if int(dropped[1]):
        raise LabError(f"the kernel dropped {dropped[1]} exits from its histogram")
    return tuple(buckets)


def name_of(code: int, isa: Isa, reasons: Reasons) -> str:
    """The kernel's name of an exit code, or the code in hex if it has none.

    Flags above a VMX reason are appended: "INVALID_STATE+0x80000000" is a failed entry.
    """
    basic = code & VMX_REASON if isa == "vmx" else code
    name = reasons.get(basic, f"{basic:#x}")
    return name if basic == code else f"{name}+{code - basic:#x}"


def exit_counts(text: str, isa: Isa, reasons: Reasons) -> tuple[ExitCount, ...]:
    """A histogram's text as counts by reason, sorted by name."""
    counts: Counter[str] = Counter()
    times: Counter[str] = Counter()
    for bucket in parse_histogram(text):
        name = name_of(bucket.code, isa, reasons)
        counts[name] += bucket.count
        times[name] += bucket.time_ns
    return tuple(
        ExitCount(reason=name, count=counts[name], time_ns=times[name]) for name in sorted(counts)
    )
