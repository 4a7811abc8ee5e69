"""The act of a case: what the case is about, so that what fails in it is the product's failure.

    with vfs(rig, 1) as (vf,), on_host(rig, vf) as node:            # the set-up
        with under_test("a reset of the VF by FLR"):                # the act
            seconds = recovery(node, rig.wire.ip, reset)
        assert seconds is not None, "the VF never answered again"   # what is asked of it

A driver that refuses, a reset that ends with EIO, an interface that never has a carrier, a stream
that dies: in an act they are why the case fails, and the NIC with it. Around it the same is an
error, which says nothing of this case: some other one has it for its act.

Whatever happens in an act, some failures are never the product's: of the machine that it is tried
on (out of reach, without a program, without memory or room on its disk), of a guest as a whole, and
of what an act needs around it and makes itself, in `set_up`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.core.errors import (
    GuestGone,
    GuestSilent,
    InUse,
    JournalFailed,
    Killed,
    LabError,
    NotStarted,
    ProductFailure,
    RunOver,
    SetUpFailed,
)

NEVER_THE_PRODUCT = (
    RunOver,
    NotStarted,
    Killed,
    InUse,
    JournalFailed,
    GuestGone,
    GuestSilent,
    SetUpFailed,
)
"""A guest that is gone may have been killed, one that is silent may be on a busy machine. A case
that is about a guest's end says so itself (harness.qualify.checks.guest_lifecycle)."""


@contextmanager
def under_test(act: str) -> Iterator[None]:
    """The act of a case, in words that "failed" can follow: a failure in here is ProductFailure.

    The words of the host, the driver or the tool stand in its message. What is no LabError passes
    as it is: MissingCapability, an assertion, an interrupt, a fault of nicproof's own.
    """
    try:
        yield
    except NEVER_THE_PRODUCT:
        raise
    except LabError as error:
        raise ProductFailure(f"{act} failed: {error.message}", remedy=error.remedy) from error


@contextmanager
def set_up(what: str) -> Iterator[None]:
    """Something that an act needs and that is not its matter: SetUpFailed if it does not come."""
    try:
        yield
    except NEVER_THE_PRODUCT:
        raise
    except LabError as error:
        raise SetUpFailed(f"{what}: {error.message}", remedy=error.remedy) from error
