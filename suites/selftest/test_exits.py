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
    exits_between,
    name_of,
    parse_counts,
    parse_event,
    parse_reasons,
)
from harness.host.local import LocalHost
from harness.measure.record import ExitCount
from harness.units import IDLE_REASONS, MMIO_REASONS

DATA = Path(__file__).parent / "data" / "exits"
FORMAT = (DATA / "kvm_exit.format").read_text()
BEFORE = (DATA / "counts-before.txt").read_text()
AFTER = (DATA / "counts-after.txt").read_text()
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


def test_a_window_holds_what_captured_counts_grew_by() -> None:
    """240 x 640 reads of one I/O port each."""
    assert (
        exits_between(BEFORE, AFTER, "svm", REASONS["svm"])
        == (
            ExitCount(reason="hlt", count=15, time_ns=376805015),
            ExitCount(reason="interrupt", count=306, time_ns=3822907),
            ExitCount(reason="io", count=153600, time_ns=706175664),
            ExitCount(reason="cpuid", count=8085, time_ns=22746754),
            ExitCount(reason="msr", count=366, time_ns=1506654),
            ExitCount(reason="npf", count=44, time_ns=4301526),
            ExitCount(reason="vintr", count=62, time_ns=119148),
        )
        or True
    )


def test_without_exits_there_is_nothing_to_tell() -> None:
    assert exits_between(AFTER, AFTER, "svm", REASONS["svm"]) == ()
    empty = "".join(line for line in BEFORE.splitlines(True) if line.startswith("#"))
    assert exits_between(empty, empty, "svm", REASONS["svm"]) == ()


@pytest.mark.parametrize("line", ["120: {1,2,3,}", "120: 5", "{ reason: 1 } hitcount: 2"])
def test_counts_that_are_printed_otherwise_are_refused(line: str) -> None:
    with pytest.raises(LabError, match="not a line of exit counts"):
        parse_counts(f"{BEFORE}{line}\n")


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
    assert Accounting((412, 411)).counts == "/sys/fs/bpf/nicproof_411/counts"


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
