"""The errors of the harness: whose fault, what, where, how to mend it."""

from __future__ import annotations


class HarnessError(Exception):
    """Base of everything nicproof raises on purpose.

    `remedy` is one line that says how to mend it; it is printed below the message.
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  remedy: {self.remedy}" if self.remedy else self.message


class ConfigError(HarnessError):
    """The user's input is wrong: an option, an inventory key, a file."""


class LabError(HarnessError):
    """The rig failed, not the product under test."""


class CommandFailed(LabError):
    """A command on a host ended with an exit status that was not expected."""

    def __init__(
        self, host: str, argv: tuple[str, ...], returncode: int, stdout: str, stderr: str
    ) -> None:
        said = (stderr.strip() or stdout.strip() or "it said nothing")[-2000:]
        super().__init__(f"{host}: {' '.join(argv)} ended with status {returncode}: {said}")
        self.host, self.argv, self.returncode = host, argv, returncode
        self.stdout, self.stderr = stdout, stderr


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


class MissingCapability(HarnessError):
    """The host, NIC or tool cannot do what was asked; a skip names it."""

    def __init__(self, capability: str, why: str = "", *, remedy: str = "") -> None:
        super().__init__(f"{capability}: {why}" if why else capability, remedy=remedy)
        self.capability, self.why = capability, why
