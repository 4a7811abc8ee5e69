"""The mended QEMU: six instructions differ from Debian's, and nothing is guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.guest.image.rootfs import QEMU
from harness.hosts.local import LocalHost
from harness.labs.nested.intlog import Deliveries, deliveries
from harness.labs.nested.svmfix import make_fixed_copy, mended
from harness.labs.nested.toolchain import Toolchain, parse_version
from suites.selftest.support.files import CAPTURED

DATA = CAPTURED / "lab"

CODE = {
    0x4CCF16: "84c07416219dd00000004883c4085b5d31c0",  # cpu_reset_interrupt, the BQL held
    0x4CCF3C: "e8cfcb2800219dd00000004883c4085b5de9",  # and taken
    0x7D9F94: "84c0744509abd00000004889dfe89afaf7ff",  # tcg_handle_interrupt
    0x7FC458: "818b10d5ffff00010000e927ffffff",  # helper_vmrun
    0x7FC547: "410fb6f44489abe033000089b310d7ffffc783",  # helper_vmrun, an interrupt injected
    0x7FCA18: "81a310d5fffffffeffffc78378340000",  # do_vmexit
}
"""As in Debian's QEMU 10.0.13, build e5588a4ae9dc724ce182d9d2421089e0668fd1bd: offset -> code."""

MENDED = {
    0x4CCF16: "84c07416f0219dd00000005866905b5d31c0",  # lock and; pop rax
    0x4CCF3C: "e8cfcb2800f0219dd00000005866905b5de9",
    0x7D9F94: "84c07445f009abd0000000535fe89afaf7ff",  # lock or; push rbx; pop rdi
    0x7FC458: "f0808b11d5ffff016690e927ffffff",  # lock or byte
    0x7FC547: "410fb6f44489abe0330000660f1f440000c783",  # nop
    0x7FCA18: "f080a311d5fffffe6690c78378340000",  # lock and byte
}


def binary(code: dict[int, str]) -> bytes:
    """The pieces, with something between them."""
    return b"before" + b"between".join(bytes.fromhex(each) for each in code.values()) + b"after"


def test_what_is_at_fault_is_replaced_by_as_many_bytes() -> None:
    assert mended(binary(CODE)) == binary(MENDED)


@pytest.mark.parametrize("at", CODE)
def test_what_is_not_surely_the_known_code_is_left_alone(at: int) -> None:
    others = {where: code for where, code in CODE.items() if where != at}
    assert mended(binary(others)) is None, "not there"
    assert mended(binary(CODE | {0: CODE[at]})) is None, "there twice"
    assert mended(binary(MENDED)) is None


@pytest.mark.parametrize(
    ("at", "field"), [(0x7FC458, "10d5ffff"), (0x7FC547, "10d7ffff"), (0x7FCA18, "10d5ffff")]
)
def test_a_field_of_cpu_state_lies_before_env(at: int, field: str) -> None:
    assert mended(binary(CODE | {at: CODE[at].replace(field, f"{field[:4]}0000")})) is None


def test_the_labs_own_qemu_is_mended_and_starts(debian_root: Path, tmp_path: Path) -> None:
    """Also the notice when Debian's QEMU has moved on and the known code with it."""
    copy = tmp_path / "qemu"
    assert make_fixed_copy(debian_root / QEMU, copy)
    original, fixed = (debian_root / QEMU).read_bytes(), copy.read_bytes()
    for at, code in CODE.items():
        known, put = bytes.fromhex(code), bytes.fromhex(MENDED[at])
        assert original.count(known) == fixed.count(put) == 1, hex(at)
        original = original.replace(known, put)
    assert original == fixed
    toolchain = Toolchain(debian_root, copy)
    output = LocalHost().run((*toolchain.qemu, "--version")).text
    assert parse_version(output) == Toolchain(debian_root).qemu_version()


def test_an_interrupt_where_none_is_taken_is_found_in_qemus_log() -> None:
    """A page fault asks for no permission, INT3 is the program's own; of two timer interrupts, one
    came while IF was clear."""
    log = (DATA / "qemu-int.log").read_text()
    assert deliveries(log.splitlines()) == Deliveries(2, (0xEC,))
    assert deliveries(log.replace("RFL=00000002", "RFL=00000202").splitlines()) == Deliveries(2, ())


def test_what_the_log_has_not_yet_told_is_not_counted() -> None:
    """QEMU still writes: the last delivery has no flags yet."""
    log = (DATA / "qemu-int.log").read_text()
    assert deliveries(log[: log.rindex("RFL=")].splitlines()) == Deliveries(1, ())
    assert deliveries(()) == Deliveries(0, ())
