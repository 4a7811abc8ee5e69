"""Migrate a guest and switch its network over in the moment in which it runs nowhere.

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9 and nothing else:
`python3 -I -S -c <this text>`, the specification as JSON on stdin:

    monitor   path of a QMP socket of the source that nobody is connected to
    uri       where the destination listens, as QMP's migrate takes it
    switch    commands, each a list of arguments, to run once the source has stopped for good
    beside    a command that runs from before the migration until after it
    after     seconds that it goes on
    limit     seconds that the migration may take

It prints one JSON object: `migration`, the source's last query-migrate (or of that what a refusal
tells), and `beside`, what that command printed until it was interrupted.

It runs on the host that is migrated from because the guest stands still meanwhile: a way to the
controller and back would be part of what is measured.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time

ENDED = ("completed", "failed", "cancelled")


class Refused(Exception):
    """QEMU does not carry a command out; its words."""


class Monitor:
    """A QMP connection; events are taken as they come (docs/interop/qmp-spec in QEMU's manual)."""

    def __init__(self, path: str, limit: float) -> None:
        self.end = time.monotonic() + limit
        self.wire = socket.socket(socket.AF_UNIX)
        self.wire.connect(path)
        self.lines = self.wire.makefile("r")
        self.statuses: list[str] = []
        self.read()  # the greeting
        self.command("qmp_capabilities")

    def read(self) -> dict:  # type: ignore[type-arg]
        self.wire.settimeout(max(0.001, self.end - time.monotonic()))
        line = self.lines.readline()
        if not line:
            raise ConnectionError("QEMU has ended")
        answer: dict = json.loads(line)  # type: ignore[type-arg]
        if answer.get("event") == "MIGRATION":
            self.statuses.append(answer["data"]["status"])
        return answer

    def command(self, name: str, **arguments: object) -> dict:  # type: ignore[type-arg]
        request = {"execute": name, "arguments": arguments}
        self.wire.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = self.read()
            if "error" in answer:
                raise Refused(answer["error"]["desc"])
            if "return" in answer:
                return dict(answer["return"])

    def until(self, *wanted: str) -> str:
        """The first migration status of `wanted`, told already or still to come."""
        while True:
            for status in self.statuses:
                if status in wanted:
                    return status
            self.read()


def migrate(spec: dict) -> dict:  # type: ignore[type-arg]
    monitor = Monitor(spec["monitor"], spec["limit"])
    states = [{"capability": name, "state": True} for name in ("events", "pause-before-switchover")]
    monitor.command("migrate-set-capabilities", capabilities=states)
    try:
        monitor.command("migrate", uri=spec["uri"])
    except Refused as refused:
        return {"status": "refused", "error-desc": str(refused)}
    if monitor.until("pre-switchover", *ENDED) == "pre-switchover":
        for argv in spec["switch"]:
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        monitor.command("migrate-continue", state="pre-switchover")
        monitor.until(*ENDED)
    return monitor.command("query-migrate")


def main(spec: dict) -> dict:  # type: ignore[type-arg]
    beside = subprocess.Popen(spec["beside"], stdout=subprocess.PIPE, text=True)
    try:
        migration = migrate(spec)
        time.sleep(spec["after"])
    finally:
        beside.send_signal(signal.SIGINT)
        message, _ = beside.communicate(timeout=10)
    return {"migration": migration, "beside": message}


if __name__ == "__main__":
    json.dump(main(json.load(sys.stdin)), sys.stdout)
