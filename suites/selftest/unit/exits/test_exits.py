"""Exit accounting: the kernel's texts (captured on 6.12 with kvm_amd), refusals."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import LabError, MissingCapability
from harness.core.metrics import IDLE_REASONS, MMIO_REASONS
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
from harness.hosts.local import LocalHost
from harness.records.trial import ExitCount
from suites.selftest.support.files import CAPTURED

DATA = CAPTURED / "exits"
FORMAT = (DATA / "kvm_exit.format").read_text()
COUNTS = (DATA / "counts.txt").read_text()
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
    """Of a guest that read I/O ports beside a process that wanted the CPU as well."""
    assert between(Edge(0, (), {}), Edge(1, (), parse_counts(COUNTS))) == (
        ExitCount(reason="cpuid", count=46662, time_ns=203081022, cpu_ns=130489164),
        ExitCount(reason="hlt", count=22, time_ns=1906705410, cpu_ns=215471),
        ExitCount(reason="interrupt", count=755, time_ns=628821249, cpu_ns=3736730),
        ExitCount(reason="io", count=45152, time_ns=321262050, cpu_ns=208495610),
        ExitCount(reason="msr", count=706, time_ns=2745166, cpu_ns=2745166),
        ExitCount(reason="npf", count=1, time_ns=96428, cpu_ns=8683),
        ExitCount(reason="vintr", count=54, time_ns=98898, cpu_ns=98898),
    )


def test_without_exits_there_is_nothing_to_tell() -> None:
    full = Edge(0, (), parse_counts(COUNTS))
    assert between(full, full) == ()
    empty = "".join(line for line in COUNTS.splitlines(True) if not line[0].isdigit())
    assert parse_counts(empty) == {}


def test_counts_are_of_a_vcpu_and_a_code_of_32_bits() -> None:
    second = f"{COUNTS.rstrip()}\n{(1 << 32) + 0x80000001}: {{5,6,7,}}\n"
    assert parse_counts(second)[1, 0x80000001] == Bucket(5, 6, 7)
    assert parse_counts(second)[0, HLT].count == 22


def test_what_each_vcpu_is_at() -> None:
    one = Vcpu(39028000743, 96, 93352, 39028007054)  # preempted after 6 us in an interrupt's exit
    assert parse_vcpus(VCPUS) == (one,)
    assert one.going_on(39028017054) == Bucket(0, 16311, 6311)
    two = VCPUS.replace(",0,0,}", ",0,0,0,1024,7,0,5,6,}")
    assert parse_vcpus(two) == (one, Vcpu(0, 1024, 7, 0, 5, 6))
    for wrong in (COUNTS, VCPUS.replace("0: {", "0: [{"), VCPUS[:-30]):
        with pytest.raises(LabError):
            parse_vcpus(wrong)


HLT, IO = 0x78, 0x7B


def edge(at_ns: int, exits: dict[int, tuple[int, int, int]], *vcpus: Vcpu) -> Edge:
    """What there is at an edge; all that has ended is the first vCPU's."""
    return Edge(at_ns, vcpus, {(0, code): Bucket(*three) for code, three in exits.items()})


def test_of_an_exit_that_goes_on_at_an_edge_only_the_time_inside_counts() -> None:
    """Halted from 100 to 1500, asleep from 120 to 1490; a port read of 5; halted again from 1800,
    asleep since 1830. The window is from 1000 to 2000."""
    opening = edge(1000, {HLT: (3, 50, 9)}, Vcpu(100, HLT, 3, out=120))
    closing = edge(2000, {HLT: (4, 1450, 39), IO: (1, 5, 5)}, Vcpu(1800, HLT, 5, out=1830))
    assert between(opening, closing) == (
        ExitCount(reason="hlt", count=1, time_ns=500 + 200, cpu_ns=10 + 30),
        ExitCount(reason="io", count=1, time_ns=5, cpu_ns=5),
    )


def test_a_guest_that_halts_throughout_has_no_exit_but_its_time() -> None:
    opening = edge(1000, {HLT: (3, 50, 9)}, Vcpu(100, HLT, 3, out=120))
    closing = edge(2000, {HLT: (3, 50, 9)}, Vcpu(100, HLT, 3, out=120))
    halted = ExitCount(reason="hlt", count=0, time_ns=1000, cpu_ns=0)
    assert between(opening, closing) == (halted,)
    in_guest = edge(2000, {HLT: (4, 950, 29)}, Vcpu(0, HLT, 4))
    assert between(opening, in_guest) == (ExitCount(reason="hlt", count=1, time_ns=0, cpu_ns=0),)


def test_polling_for_the_next_interrupt_is_cpu_time_of_the_halt() -> None:
    """Nothing but polling since the exit began, on the CPU all the time."""
    opening, closing = edge(1000, {}, Vcpu(0, 0, 0)), edge(2000, {}, Vcpu(1200, HLT, 0))
    halted = ExitCount(reason="hlt", count=0, time_ns=800, cpu_ns=800)
    assert between(opening, closing) == (halted,)


def test_an_exit_that_was_preempted_twice_has_its_time_on_a_cpu() -> None:
    """Away for 300 so far, and off its CPU again since 1900."""
    opening = edge(1000, {}, Vcpu(0, 0, 0))
    closing = edge(2000, {}, Vcpu(1100, IO, 0, out=1900, away=300))
    found = ExitCount(reason="io", count=0, time_ns=900, cpu_ns=500)
    assert between(opening, closing) == (found,)


def test_an_exit_that_ends_between_the_two_readings_of_an_edge_is_not_cut_twice() -> None:
    """The vCPUs' file says that it goes on, the counts, read after it, hold it already."""
    opening = edge(1000, {HLT: (4, 950, 20)}, Vcpu(100, HLT, 3, out=120))
    closing = edge(2000, {HLT: (4, 950, 20), IO: (1, 7, 7)}, Vcpu(0, IO, 5))
    assert between(opening, closing) == (ExitCount(reason="io", count=1, time_ns=7, cpu_ns=7),)


def test_what_another_vcpu_does_between_the_readings_leaves_a_long_halt_alone() -> None:
    """The second vCPU sleeps from 100 to 1500; an exit of the first ends amid the reading."""
    sleeper = Vcpu(100, HLT, 0, out=110)
    opening = edge(1000, {IO: (4, 20, 20)}, Vcpu(995, IO, 3), sleeper)
    closing = edge(2000, {IO: (4, 20, 20)}, Vcpu(0, IO, 4), Vcpu(0, HLT, 1))
    ended = Edge(2000, closing.vcpus, {**closing.exits, (1, HLT): Bucket(1, 1400, 30)})
    halted = ExitCount(reason="hlt", count=1, time_ns=500, cpu_ns=20)
    assert between(opening, ended) == (halted,)


def test_a_vcpu_that_leaves_its_cpu_before_its_exit_is_told_was_not_in_the_guest() -> None:
    """As on kernels that tell of an exit only when interrupts have been let in."""
    opening = edge(1000, {}, Vcpu(0, IO, 0, guest_away=70))
    closing = edge(2000, {}, Vcpu(0, IO, 0, out=1950, guest_away=90))
    assert closing.away_in_guest - opening.away_in_guest == 20 + 50
    assert edge(2000, {}, Vcpu(1940, IO, 0, out=1950, guest_away=90)).away_in_guest == 90


@pytest.mark.parametrize(
    "line", ["120: {1,2,}", "120: {1,2,3,4,}", "120: 5", "{ reason: 1 } hitcount: 2"]
)
def test_counts_that_are_printed_otherwise_are_refused(line: str) -> None:
    with pytest.raises(LabError, match="not a line of exit counts"):
        parse_counts(f"{COUNTS.rstrip()}\n{line}\n")


@given(st.text() | st.integers(0, len(COUNTS)).map(lambda cut: COUNTS[:cut]))
def test_counts_cut_short_are_refused_or_right(text: str) -> None:
    with suppress(LabError):
        assert parse_counts(text).items() <= parse_counts(COUNTS).items()


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
