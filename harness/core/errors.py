"""The errors of the harness: whose fault, what, where, how to mend it."""

from __future__ import annotations

from harness.core.plain import plain


class HarnessError(Exception):
    """Base of everything nicproof raises on purpose.

    `remedy` is one line that says how to mend it; it is printed below the message. Both are plain:
    they quote whoever said something.
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        self.message, self.remedy = plain(message), plain(remedy)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\n  remedy: {self.remedy}" if self.remedy else self.message


class ConfigError(HarnessError):
    """The user's input is wrong: an option, an inventory key, a file."""


class LabError(HarnessError):
    """The rig failed, or so it is taken: only the act of a case says that the product did."""


class ProductFailure(HarnessError):
    """What a case of a qualification is about failed: the NIC, its firmware or its driver, or the
    kernel or QEMU that carry guests. Raised by harness.qualify.rig.act.under_test."""


class CommandFailed(LabError):
    """A command on a host ended with an exit status that was not expected."""

    def __init__(
        self, host: str, argv: tuple[str, ...], returncode: int, stdout: str, stderr: str
    ) -> None:
        output = (stderr.strip() or stdout.strip() or "it said nothing")[-2000:]
        super().__init__(f"{host}: {' '.join(argv)} ended with status {returncode}: {output}")
        self.host, self.argv, self.returncode = host, argv, returncode
        self.stdout, self.stderr = stdout, stderr


class Killed(CommandFailed):
    """A command was ended by SIGKILL: by the kernel for want of memory, or by somebody."""


class NotStarted(LabError):
    """A program is not on a machine, or cannot be started there."""


class Refused(LabError):
    """A machine's kernel refused what was written to a file."""


class InUse(LabError):
    """What is wanted is somebody else's already."""


class JournalFailed(LabError):
    """A change cannot be written down on the host, so it is not made."""


class SetUpFailed(LabError):
    """What an act needs around it did not come about."""


class RunOver(LabError):
    """After this nothing further of the run can succeed; what was stored so far is kept."""


class HostUnreachable(RunOver):
    """The connection to a host is gone: nothing further can be asked of it."""


class GuestGone(LabError):
    """A guest ended or lost its agent; its host and the other paths go on."""


class StoreFailed(RunOver):
    """The disk refuses records."""


class DeadlineExpired(LabError):
    """A wait reached its limit; nothing in the harness waits without one."""


class GuestSilent(DeadlineExpired):
    """A guest's agent did not answer in time, which a busy machine can cause."""


class MissingCapability(HarnessError):
    """The host, NIC or tool cannot do what was asked; a skip names it."""

    def __init__(self, capability: str, why: str = "", *, remedy: str = "") -> None:
        super().__init__(f"{capability}: {why}" if why else capability, remedy=remedy)
        self.capability, self.why = capability, why
