"""Read, set, step and slew a PTP hardware clock.

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9, root and nothing
else: `python3 -I -S -c <this text> SPEC`, SPEC a JSON object:

    device  the clock, such as /dev/ptp0
    steps   what to do, in this order:
        ["read"]
        ["wait", seconds]
        ["step", nanoseconds]    forward, or back if negative
        ["slew", scaled ppm]     run faster by so many 2^-16 ppm than by itself
        ["set", nanoseconds]     since the epoch; null is the system's time

It prints, as JSON, what was read after each step: [monotonic before, clock, monotonic after, slew],
in nanoseconds and scaled ppm.

A clock's file descriptor is its clock ID too (FD_TO_CLOCKID in clock_getres(2)); `struct timex` and
ADJ_* are in include/uapi/linux/timex.h.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time

ADJ_FREQUENCY, ADJ_SETOFFSET, ADJ_NANO = 0x0002, 0x0100, 0x2000
SECOND = 1_000_000_000
TRIES = 5
"""Of so many readings the one that took least time counts: it may have been interrupted."""


class Timex(ctypes.Structure):
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
        ("rest", ctypes.c_long * 24),  # more than there is
    )


def adjust(clock: int, modes: int, *, freq: int = 0, step: int = 0) -> int:
    """clock_adjtime(2); returns the slew as it is then."""
    libc = ctypes.CDLL(None, use_errno=True)
    seconds, nanoseconds = divmod(step, SECOND)
    state = Timex(modes=modes, freq=freq, seconds=seconds, nanoseconds=nanoseconds)
    if libc.clock_adjtime(ctypes.c_int(clock), ctypes.byref(state)) < 0:
        raise OSError(ctypes.get_errno(), "clock_adjtime")
    return int(state.freq)


def read(clock: int) -> list[int]:
    readings = []
    for _ in range(TRIES):
        before = time.monotonic_ns()
        now = time.clock_gettime_ns(clock)
        readings.append([before, now, time.monotonic_ns()])
    best = min(readings, key=lambda reading: reading[2] - reading[0])
    return [*best, adjust(clock, 0)]


def perform(clock: int, what: str, value: float | None = None) -> None:
    if what == "wait":
        time.sleep(value or 0)
    elif what == "step":
        adjust(clock, ADJ_SETOFFSET | ADJ_NANO, step=int(value or 0))
    elif what == "slew":
        adjust(clock, ADJ_FREQUENCY, freq=int(value or 0))
    elif what == "set":
        time.clock_settime_ns(clock, time.time_ns() if value is None else int(value))


def main() -> None:
    spec = json.loads(sys.argv[1])
    clock = ~os.open(spec["device"], os.O_RDWR) << 3 | 3
    readings = []
    for step in spec["steps"]:
        perform(clock, *step)
        readings.append(read(clock))
    json.dump(readings, sys.stdout)


if __name__ == "__main__":
    main()
