"""Drivers of the lab's kernel with something wrong in them, as the drill makes them."""

from __future__ import annotations

import errno
import struct

import pytest

from harness.labs.nested.image import ensure_image
from suites.drill.defects import CHECK_LINK, CONFIGURE
from suites.drill.kernelmodule import SIGNATURE, returning, unsigned, without_pointers

pytestmark = pytest.mark.lab


def module(name: str) -> bytes:
    """A module of the lab's kernel, as it is on L1's disk."""
    (path,) = (ensure_image(progress=False).directory / "root").rglob(f"{name}.ko")
    return path.read_bytes()


def differing(one: bytes, other: bytes) -> list[int]:
    return [at for at, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]


def test_a_function_that_only_returns_a_value_differs_in_its_first_instructions() -> None:
    whole = unsigned(module("igb"))
    changed = returning(module("igb"), CONFIGURE, -errno.ENOMEM)
    places = differing(whole, changed)
    assert 0 < len(places) <= 6 and places[-1] - places[0] < 6
    start = changed.index(b"\xb8" + struct.pack("<i", -errno.ENOMEM) + b"\xc3")
    assert places[0] in range(start, start + 6)
    assert returning(changed, CONFIGURE, -errno.ENOMEM) == changed


def test_a_pointer_that_is_taken_away_is_one_relocation_less() -> None:
    whole = unsigned(module("igb"))
    changed = without_pointers(module("igb"), CONFIGURE)
    places = differing(whole, changed)
    assert 0 < len(places) <= 8 and places[-1] - places[0] < 8
    assert not any(changed[at] for at in places)
    with pytest.raises(ValueError, match=f"no pointer to {CONFIGURE}"):
        without_pointers(changed, CONFIGURE)


def test_a_signature_is_taken_off_once() -> None:
    signed = module("igbvf")
    assert signed.endswith(SIGNATURE)
    bare = unsigned(signed)
    assert signed.startswith(bare) and SIGNATURE not in bare
    assert unsigned(bare) == bare


def test_what_cannot_be_broken_is_told() -> None:
    with pytest.raises(ValueError, match="no function igb_no_such"):
        returning(module("igb"), "igb_no_such", 0)
    with pytest.raises(ValueError, match="no function pci_enable_sriov"):  # it is the kernel's
        returning(module("igb"), "pci_enable_sriov", 0)
    with pytest.raises(ValueError, match="not a 64-bit"):
        returning(b"\xfd7zXZ", CHECK_LINK, 0)
