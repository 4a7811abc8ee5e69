"""PCI functions that all have to answer, as most tests mean them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from harness.pci.survey import Silent

Found = TypeVar("Found")


def answering(found: Iterable[Found | Silent]) -> tuple[Found, ...]:
    """The same, none of which is silent."""
    there: list[Found] = []
    for each in found:
        assert not isinstance(each, Silent), each.why
        there.append(each)
    return tuple(there)
