"""The mended QEMU: one instruction differs from Debian's, and nothing is guessed."""

from __future__ import annotations

from pathlib import Path

from harness.guest.rootfs import QEMU
from harness.host.local import LocalHost
from harness.lab.intlog import Deliveries, deliveries
from harness.lab.svmfix import NOP6, make_fixed_copy, without_second_delivery
from harness.lab.toolchain import Toolchain, parse_version

DATA = Path(__file__).parent / "data" / "lab"

STORE = bytes.fromhex("410fb6f44489abe033000089b310d7ffffc783")
"""As in Debian's QEMU 10.0.13, at 0x7fc547 of build e5588a4ae9dc724ce182d9d2421089e0668fd1bd."""


def test_the_store_becomes_a_nop_of_its_length() -> None:
    fixed = without_second_delivery(b"before" + STORE + b"after")
    assert fixed == b"before" + STORE[:11] + NOP6 + STORE[17:] + b"after"


def test_what_is_not_surely_the_known_code_is_left_alone() -> None:
    assert without_second_delivery(b"nothing of the kind") is None
    assert without_second_delivery(STORE + b"..." + STORE) is None
    positive = STORE.replace(bytes.fromhex("10d7ffff"), bytes.fromhex("10d70000"))
    assert without_second_delivery(positive) is None


def test_the_labs_own_qemu_is_mended_and_starts(debian_root: Path, tmp_path: Path) -> None:
    """Also the notice when Debian's QEMU has moved on and the known code with it."""
    copy = tmp_path / "qemu"
    assert make_fixed_copy(debian_root / QEMU, copy)
    original, fixed = (debian_root / QEMU).read_bytes(), copy.read_bytes()
    pairs = enumerate(zip(original, fixed, strict=True))
    start = next(at for at, (before, after) in pairs if before != after)
    assert fixed[start : start + 6] == NOP6
    assert fixed[start + 6 :] == original[start + 6 :]
    toolchain = Toolchain(debian_root, copy)
    said = LocalHost().run((*toolchain.qemu, "--version")).text
    assert parse_version(said) == Toolchain(debian_root).qemu_version()


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
