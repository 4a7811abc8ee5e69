"""Exit accounting: the kernel's texts (captured on 6.12 with kvm_amd), refusals."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import LabError, MissingCapability
from harness.exits.accounting import NEEDED, Accounting, exit_accounting, exit_event
from harness.exits.model import (
    Bucket,
    Edge,
    Vcpu,
    exits_between,
    name_of,
    parse_counts,
    parse_event,
    parse_reasons,
    parse_vcpus,
)
from harness.host.local import LocalHost
from harness.measure.record import ExitCount
from harness.units import IDLE_REASONS, MMIO_REASONS

DATA = Path(__file__).parent / "data" / "exits"
FORMAT = (DATA / "kvm_exit.format").read_text()
BEFORE = (DATA / "counts-before.txt").read_text()
AFTER = (DATA / "counts-after.txt").read_text()
VCPUS = (DATA / "vcpus.txt").read_text()
REASONS = parse_reasons(FORMAT)


def test_names_come_from_the_kernels_format() -> None:
    svm, vmx = REASONS["svm"], REASONS["vmx"]
    assert (svm[0x400], svm[0x078], svm[0x07C], svm[0x060]) == ("npf", "hlt", "msr", "interrupt")
    assert (vmx[48], vmx[49], vmx[12]) == ("EPT_VIOLATION", "EPT_MISCONFIG", "HLT")
    assert svm[0xFFFFFFFF] == "invalid_guest_state"  # printed as -1; the field is unsigned
    assert (svm[0x040], svm[0x04E]) == ("DE excp", "PF excp")  # written as 0x040 + 14
    assert svm[0x80000001] == "vmgexit_mmio_read"
    first, second, _ = FORMAT.split("__print_")[1:]
    assert (len(vmx), len(svm)) == (first.count("{"), second.count("{"))


def test_the_words_that_reports_look_for_are_among_the_names() -> None:
    names = {name.lower() for reasons in REASONS.values() for name in reasons.values()}
    assert names >= IDLE_REASONS - {"mwait"}
    assert names >= MMIO_REASONS


def test_flags_that_follow_are_no_reasons() -> None:
    assert "FAILED_VMENTRY" not in REASONS["vmx"].values()


@given(st.text() | st.integers(0, len(FORMAT)).map(lambda cut: FORMAT[:cut]))
def test_a_strange_format_is_refused_or_complete(text: str) -> None:
    try:
        reasons = parse_reasons(text)
    except LabError as error:
        assert "kvm_exit" in error.message
    else:
        assert reasons["vmx"] == REASONS["vmx"]
        # Cut between two names of the second list: those before the cut are right.
        assert reasons["svm"].items() <= REASONS["svm"].items()


def test_a_format_with_the_lists_the_other_way_round_is_refused() -> None:
    with pytest.raises(LabError, match="not the known one"):
        parse_reasons(FORMAT.replace("(REC->isa == 1) ? __print_symbolic", "(isa != 1) ? __print_"))


def test_the_event_tells_its_id_and_where_its_reason_is() -> None:
    assert parse_event(FORMAT) == (1753, 8)
    with pytest.raises(LabError, match="no exit_reason of 4 bytes"):
        parse_event(FORMAT.replace("offset:8;\tsize:4", "offset:8;\tsize:8"))


def between(opening: Edge, closing: Edge) -> tuple[ExitCount, ...]:
    return exits_between(opening, closing, "svm", REASONS["svm"])


def test_a_window_holds_what_captured_counts_grew_by() -> None:
    """240 x 640 reads of one I/O port each."""
    opening = Edge(0, (), parse_counts(BEFORE))
    assert between(opening, Edge(1, (), parse_counts(AFTER))) == (
        ExitCount(reason="cpuid", count=8085, time_ns=22746754),
        ExitCount(reason="hlt", count=15, time_ns=376805015),
        ExitCount(reason="interrupt", count=306, time_ns=3822907),
        ExitCount(reason="io", count=153600, time_ns=706175664),
        ExitCount(reason="msr", count=366, time_ns=1506654),
        ExitCount(reason="npf", count=44, time_ns=4301526),
        ExitCount(reason="vintr", count=62, time_ns=119148),
    )


def test_without_exits_there_is_nothing_to_tell() -> None:
    full = Edge(0, (), parse_counts(AFTER))
    assert between(full, full) == ()
    empty = "".join(line for line in BEFORE.splitlines(True) if not line[0].isdigit())
    assert parse_counts(empty) == {}


def test_what_each_vcpu_is_at() -> None:
    assert parse_vcpus(VCPUS) == (Vcpu(573572536500, 120, 10130),)
    two = VCPUS.replace("10130,", "10130,0,1024,7,")
    assert parse_vcpus(two) == (Vcpu(573572536500, 120, 10130), Vcpu(0, 1024, 7))
    for wrong in (AFTER, VCPUS.replace("0: {", "0: [{"), VCPUS[:-30]):
        with pytest.raises(LabError):
            parse_vcpus(wrong)


HLT, IO = 0x78, 0x7B


def edge(at_ns: int, since: int, reason: int, exits: dict[int, tuple[int, int]]) -> Edge:
    buckets = {code: Bucket(*both) for code, both in exits.items()}
    ended = sum(bucket.count for bucket in buckets.values())
    return Edge(at_ns, (Vcpu(since, reason, ended),), buckets)


def test_of_an_exit_that_goes_on_at_an_edge_only_the_time_inside_counts() -> None:
    """Halted from 100 to 1500, a port read of 5, halted again from 1800; window 1000 to 2000."""
    opening = edge(1000, 100, HLT, {HLT: (3, 50)})
    closing = edge(2000, 1800, HLT, {HLT: (4, 1450), IO: (1, 5)})
    assert between(opening, closing) == (
        ExitCount(reason="hlt", count=1, time_ns=500 + 200),
        ExitCount(reason="io", count=1, time_ns=5),
    )


def test_a_guest_that_halts_throughout_has_no_exit_but_its_time() -> None:
    opening = edge(1000, 100, HLT, {HLT: (3, 50)})
    closing = edge(2000, 100, HLT, {HLT: (3, 50)})
    assert between(opening, closing) == (ExitCount(reason="hlt", count=0, time_ns=1000),)
    in_guest = edge(2000, 0, HLT, {HLT: (4, 950)})
    assert between(opening, in_guest) == (ExitCount(reason="hlt", count=1, time_ns=0),)


def test_an_exit_that_ends_between_the_two_readings_of_an_edge_is_not_cut_twice() -> None:
    """The vCPUs' file says that it goes on, the counts, read after it, hold it already."""
    opening = Edge(1000, (Vcpu(100, HLT, 3),), {HLT: Bucket(4, 950)})
    closing = edge(2000, 0, IO, {HLT: (4, 950), IO: (1, 7)})
    assert between(opening, closing) == (ExitCount(reason="io", count=1, time_ns=7),)


@pytest.mark.parametrize("line", ["120: {1,2,3,}", "120: 5", "{ reason: 1 } hitcount: 2"])
def test_counts_that_are_printed_otherwise_are_refused(line: str) -> None:
    with pytest.raises(LabError, match="not a line of exit counts"):
        parse_counts(f"{BEFORE.rstrip()}\n{line}\n")


@given(st.text() | st.integers(0, len(AFTER)).map(lambda cut: AFTER[:cut]))
def test_counts_cut_short_are_refused_or_right(text: str) -> None:
    with suppress(LabError):
        assert parse_counts(text).items() <= parse_counts(AFTER).items()


def test_codes_without_a_name_and_vmx_flags_stay_visible() -> None:
    assert name_of(0x999, "svm", REASONS["svm"]) == "0x999"
    assert name_of(12, "vmx", REASONS["vmx"]) == "HLT"
    assert name_of(0x80000021, "vmx", REASONS["vmx"]) == "INVALID_STATE+0x80000000"
    assert name_of(0x80000021, "svm", REASONS["svm"]) == "0x80000021"


def test_a_guests_counts_are_named_after_its_first_thread() -> None:
    assert Accounting((412, 411)).counts == "/sys/fs/bpf/nicproof_411/counts/*"


def test_no_threads_is_the_rigs_fault() -> None:
    with pytest.raises(LabError, match="no vCPU threads"), exit_accounting(LocalHost(), ()):
        pass


@pytest.mark.skipif(
    all(Path(path).exists() for path in NEEDED), reason="this machine can account for exits"
)
def test_a_machine_that_cannot_names_the_first_capability_it_lacks() -> None:
    lacking = next(word for path, (word, _) in NEEDED.items() if not Path(path).exists())
    with pytest.raises(MissingCapability) as caught:
        exit_event(LocalHost())
    assert caught.value.capability == lacking
    assert caught.value.remedy
