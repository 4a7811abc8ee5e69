"""Send one frame again and again for some time, and count the interrupts that this causes.

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9, root and nothing
else: `python3 -I -S -c <this text> SPEC`, SPEC a JSON object:

    interface  of the program's own namespace, from which to send
    frame      the frame as hex
    seconds    how long to send
    irqs       numbers of the interrupts to count, on all CPUs

It prints a JSON object: `sent` frames, `ns` from the first frame until what they caused was over,
`interrupts` in that time, by number.
"""

from __future__ import annotations

import json
import socket
import sys
import time

DRAIN = 0.02
"""Seconds after which the last frame has arrived and been told of, at any moderation."""


def count(irqs: list[int]) -> dict[int, int]:
    found = {}
    with open("/proc/interrupts") as file:  # noqa: PTH123
        cpus = len(file.readline().split())
        for line in file:
            name, _, rest = line.partition(":")
            if name.strip().isdigit() and int(name) in irqs:
                found[int(name)] = sum(map(int, rest.split()[:cpus]))
    return found


def main() -> None:
    spec = json.loads(sys.argv[1])
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.bind((spec["interface"], 0))
    frame, sent = bytes.fromhex(spec["frame"]), 0
    before = count(spec["irqs"])
    begin = time.monotonic()
    while time.monotonic() < begin + spec["seconds"]:
        made.send(frame)
        sent += 1
    time.sleep(DRAIN)
    ns = int((time.monotonic() - begin) * 1e9)
    after = count(spec["irqs"])
    interrupts = {number: after[number] - before[number] for number in after}
    json.dump({"sent": sent, "ns": ns, "interrupts": interrupts}, sys.stdout)


if __name__ == "__main__":
    main()
