"""By what a guest is known again: its boot, a process of it, what it holds in memory."""

from __future__ import annotations

from dataclasses import dataclass

from harness.hosts.base import Host

LIVE = """
dd if=/dev/urandom of=/run/nicproof-memory bs=64k count=64 2>/dev/null || exit 1
: >/run/nicproof-beats
while :; do printf . >>/run/nicproof-beats; sleep 0.1; done </dev/null >/dev/null 2>&1 &
echo $!
"""
"""4 MiB that nobody could make up, and a process that leaves a trace ten times a second."""

LOOK = """
cat /proc/sys/kernel/random/boot_id
cut -d ' ' -f 1 /proc/uptime
cut -d ' ' -f 22 "/proc/$1/stat" || echo gone
wc -c </run/nicproof-beats
md5sum </run/nicproof-memory
"""
"""Field 22 of /proc/PID/stat is the time at which the process began, see proc_pid_stat(5)."""


@dataclass(frozen=True)
class Life:
    """What a guest remembers: of its boot, of a process, of its memory."""

    boot: str
    uptime_s: float
    process: tuple[int, str]  # pid, and when it began in clock ticks after the boot
    beats: int
    memory: str

    @property
    def identity(self) -> tuple[object, ...]:
        """What must be the same wherever the guest is."""
        return self.boot, self.process, self.memory


def begin(guest: Host) -> Life:
    """Start something in a guest by which it is known again."""
    return look(guest, int(guest.run(("sh", "-c", LIVE)).text))


def look(guest: Host, pid: int) -> Life:
    """What the guest remembers now; of a process that is gone it says so."""
    lines = guest.run(("sh", "-e", "-c", LOOK, "sh", str(pid))).text.splitlines()
    boot, uptime, began, beats, memory = (line.strip() for line in lines)
    return Life(boot, float(uptime), (pid, began), int(beats), memory.split()[0])
