"""Waiting with a limit: every wait in the harness goes through here."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from harness.core.errors import DeadlineExpired

T = TypeVar("T")


class Deadline:
    """A point in (monotonic, wall-clock) time that a piece of work must not pass."""

    def __init__(self, seconds: float, what: str) -> None:
        self.seconds = seconds
        self.what = what
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self._end - time.monotonic())

    @property
    def expired(self) -> bool:
        return self.left == 0.0

    def check(self, detail: str = "") -> None:
        """Raise DeadlineExpired if the time is up."""
        if self.expired:
            raise DeadlineExpired(
                f"{self.what} did not happen within {self.seconds:g} s"
                + (f": {detail}" if detail else "")
            )

    def poll(self, probe: Callable[[], T | None], *, interval: float = 0.05) -> T:
        """Call `probe` until it returns something truthy; that value is the result.

        Raises DeadlineExpired when the time is up; what `probe` raises passes through.
        """
        while True:
            value = probe()
            if value:
                return value
            self.check()
            time.sleep(min(interval, self.left))
