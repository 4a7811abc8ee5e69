"""Exit accounting: the kernel's texts (captured on 6.12 with kvm_amd), the triggers, refusals."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import LabError, MissingCapability
from harness.exits.model import exit_counts, name_of, parse_histogram, parse_reasons
from harness.exits.tracefs import NEEDED, Accounting, exit_accounting, exit_reasons
from harness.host.local import LocalHost
from harness.measure.record import ExitCount
from harness.units import IDLE_REASONS, MMIO_REASONS

DATA = Path(__file__).parent / "data" / "exits"
FORMAT = (DATA / "kvm_exit.format").read_text()
HISTOGRAM = (DATA / "svm.hist").read_text()
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


def test_a_captured_histogram_of_twenty_pings() -> None:
    assert exit_counts(HISTOGRAM, "svm", REASONS["svm"]) == (
        ExitCount(reason="hlt", count=37, time_ns=851228201),
        ExitCount(reason="interrupt", count=29, time_ns=11413718),
        ExitCount(reason="msr", count=30, time_ns=14574975),
        ExitCount(reason="npf", count=20, time_ns=37413618),
        ExitCount(reason="vintr", count=7, time_ns=418312),
    )


def test_an_empty_histogram_has_no_exits() -> None:
    text = "".join(line for line in HISTOGRAM.splitlines(True) if not line.startswith("{"))
    assert exit_counts(text, "svm", REASONS["svm"]) == ()


def test_dropped_events_make_the_counts_worthless() -> None:
    with pytest.raises(LabError, match="dropped 3 exits"):
        parse_histogram(HISTOGRAM.replace("Dropped: 0", "Dropped: 3"))


@pytest.mark.parametrize("line", ["{ reason: 1 } hitcount: 2", "{ common_pid: 1 } hitcount: 2"])
def test_another_histogram_is_refused(line: str) -> None:
    with pytest.raises(LabError, match="not a line of an exit histogram"):
        parse_histogram(f"{line}\n{HISTOGRAM}")


@given(st.text() | st.integers(0, len(HISTOGRAM)).map(lambda cut: HISTOGRAM[:cut]))
def test_a_truncated_histogram_is_never_taken_for_a_whole_one(text: str) -> None:
    with suppress(LabError):
        assert parse_histogram(text) == parse_histogram(HISTOGRAM)


def test_codes_without_a_name_and_vmx_flags_stay_visible() -> None:
    assert name_of(0x999, "svm", REASONS["svm"]) == "0x999"
    assert name_of(12, "vmx", REASONS["vmx"]) == "HLT"
    assert name_of(0x80000021, "vmx", REASONS["vmx"]) == "INVALID_STATE+0x80000000"
    assert name_of(0x80000021, "svm", REASONS["svm"]) == "0x80000021"


def test_all_triggers_of_one_guest_name_its_threads_and_nothing_is_left_after_stop() -> None:
    accounting = Accounting((412, 411))
    assert accounting.name == "nicproof_411"
    timing = [text for _, text in accounting.start if "common_pid" in text]
    assert len(timing) == 2
    assert all(text.endswith(" if common_pid==412||common_pid==411") for text in timing)
    removed = [text for _, text in accounting.stop if text.startswith("!")]
    assert sorted(removed) == sorted(f"!{text}" for text in timing)
    # The trigger that uses the variables goes before the one that defines them.
    assert "$ts0" in removed[0] and "ts0=" in removed[1]
    assert {path for path, _ in (*accounting.start, *accounting.stop)} == set(accounting.triggers)


def test_counting_starts_from_zero_and_stops_before_anything_else() -> None:
    accounting = Accounting((411,))
    assert accounting.on_sum[1].endswith(":pause")
    assert [text.rpartition(":")[2] for _, text in accounting.start[-2:]] == ["clear", "cont"]
    assert accounting.stop[0][1].endswith(":pause")


def test_no_threads_is_the_rigs_fault() -> None:
    with pytest.raises(LabError, match="no vCPU threads"), exit_accounting(LocalHost(), ()):
        pass


@pytest.mark.skipif(
    all(Path(path).exists() for path in NEEDED), reason="this machine can account for exits"
)
def test_a_machine_that_cannot_names_the_first_capability_it_lacks() -> None:
    lacking = next(word for path, (word, _) in NEEDED.items() if not Path(path).exists())
    with pytest.raises(MissingCapability) as caught:
        exit_reasons(LocalHost())
    assert caught.value.capability == lacking
    assert caught.value.remedy
