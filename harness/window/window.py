"""One window of measurement on a host, and the probes that read counters at its edges.

A trial's traffic and its counters must cover the same moment. So a small program
(`window_agent.py`) does everything beside the traffic on the lab host: it reads the counters, runs
the command, and reads them again. Nothing of ours crosses the network in between, and the window's
edges are microseconds, not ssh round trips, apart.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib import resources

import msgspec

from harness.core.deadline import Deadline
from harness.core.errors import LabError
from harness.core.units import NS_PER_S
from harness.hosts.base import Host
from harness.hosts.program import PYTHON, last_words
from harness.records.trial import ExitCount, WireSample
from harness.window.counters import (
    STATISTICS,
    cpu_times,
    interrupt_counts,
    number,
    parse_net_dev,
    parse_retransmitted,
)
from harness.window.window_agent import OPEN

OVERHEAD_S = 30.0
"""Granted beyond the command's own timeout: python's start, reads, the way back."""

_LOOK = 0.01
"""Seconds between looks at whether a window has ended. They are at processes of ours."""

OWN_NET_DEV, OWN_SNMP = "/proc/self/net/dev", "/proc/self/net/snmp"
"""The window program's own view, i.e. that of the partner's network namespace."""


@dataclass(frozen=True)
class Command:
    """What a window runs, usually beside the link partner's port.

    With `handshake` the command prints "ready" and waits for a line on stdin before it starts,
    so its start-up is outside the window. `timeout` is in seconds, start-up included, by our clock.
    """

    argv: tuple[str, ...]
    stdin: str | None = None
    handshake: bool = False
    timeout: float = 60.0
    sample_s: float = 0.0
    """Seconds between readings of what the probes watch meanwhile; 0: there are none."""
    modules: tuple[str, ...] = ()
    """Kernel modules that it needs, there for its window only: some take CPU time when idle."""


@dataclass(frozen=True)
class WindowResult:
    """What the window program reports. Texts are as read; paths that were globs are expanded."""

    before: Mapping[str, str]
    after: Mapping[str, str]
    opened_ns: int
    """The opening on the host's monotonic clock, which runs from its boot."""
    window_ns: int
    """From the opening to the end of the command, on the same clock."""
    started: str
    """When it opened: UTC, ISO 8601."""
    returncode: int | None
    """Negative: ended by a signal; None: not even SIGKILL ended it."""
    stdout: str
    stderr: str
    timed_out: bool
    vanished: tuple[str, ...] = ()
    """Files that were named or read at the opening and could not be read later, e.g. those of a
    process that died."""
    samples: tuple[tuple[int, Mapping[str, str]], ...] = ()
    """Nanoseconds since the opening, and the texts of `WindowSpec.watch` at that moment."""
    announced: tuple[tuple[int, int], ...] = ()
    """When `WindowSpec.tell` was told of the opening and of the closing, and when it had answered,
    on the host's monotonic clock; of the closing there is nothing if it did not answer."""
    before_ns: Mapping[str, int] = field(default_factory=dict)
    after_ns: Mapping[str, int] = field(default_factory=dict)
    """When each text was read, on the same clock. On a busy host that is not the edge."""


@dataclass(frozen=True)
class Reading:
    """What probes learned of one window: differences, and exits if they were accounted for."""

    counters: dict[str, int] = field(default_factory=dict)
    exits: tuple[ExitCount, ...] | None = None
    wire: tuple[WireSample, ...] = ()


@dataclass(frozen=True)
class Probe:
    """Something to read at the edges of a window, and how to understand it."""

    name: str
    parse: Callable[[WindowResult], Reading]
    read: tuple[str, ...] = ()
    watch: tuple[str, ...] = ()


@dataclass(frozen=True)
class WindowSpec:
    """One window: what to read, what to run. Without a command it is held open, see
    `held_window`."""

    argv: tuple[str, ...]
    stdin: str | None = None
    handshake: bool = False
    timeout: float = 60.0
    read: tuple[str, ...] = ()
    watch: tuple[str, ...] = ()
    every: float = 0.0
    tell: str = ""
    """A unix socket on the host behind which somebody reads counters when told of an edge."""

    @classmethod
    def of(cls, command: Command, probes: Iterable[Probe] = (), tell: str = "") -> WindowSpec:
        """A workload's command, watched by `probes`, and by who is at `tell`."""
        probe = combine(probes)
        return cls(
            argv=command.argv,
            stdin=command.stdin,
            handshake=command.handshake,
            timeout=command.timeout,
            read=probe.read,
            watch=probe.watch,
            every=command.sample_s,
            tell=tell,
        )


def _never() -> bool:
    return False


def run_window(
    host: Host,
    spec: WindowSpec,
    *,
    netns: str | None = None,
    prefix: tuple[str, ...] = (),
    in_vain: Callable[[], bool] = _never,
) -> WindowResult:
    """Run one window on `host`, in the network namespace `netns` of it (None: its own). `prefix` is
    put before the window program's argv.

    Returns even if the command failed, or had to be killed because its time was over, or because
    it is `in_vain`, which is asked all the time and must not take any of the host's: that is the
    workload's to judge. The time is ours, since the host's clock may be a virtual one, by which a
    minute can pass in a second.

    Raises LabError if the window could not be opened, be it that the command did not start, that
    it ended before its handshake, or that who was told to read did not; HostUnreachable and
    DeadlineExpired as Process.wait does.
    """
    # nsenter, for `ip netns exec` would mount another /sys: no bpffs, no interfaces of the host.
    enter = ("nsenter", f"--net=/run/netns/{netns}") if netns else ()
    with host.spawn((*prefix, *enter, *PYTHON, "-c", _program(spec))) as agent:
        deadline = Deadline(spec.timeout + OVERHEAD_S, "the end of a window")
        while (running := agent.poll() is None) and not (deadline.expired or in_vain()):
            time.sleep(_LOOK)
        if running:
            agent.terminate()
        answer = agent.wait(OVERHEAD_S)
    return _decode(host.name, answer.checked().stdout, ours=running)


@contextmanager
def held_window(
    host: Host, read: tuple[str, ...], *, tell: str = ""
) -> Iterator[Callable[[], WindowResult]]:
    """A window on `host` beside something elsewhere: open when the context begins, closed by the
    function that it gives, which returns the result.

    Nothing of ours is busy on the host meanwhile. The program there is ended to close it, so it
    also ends with the connection. Raises LabError if it does not open, and the function if it was
    closed before; both raise as Host.spawn and Process.wait do.
    """
    spec = WindowSpec((), read=read, tell=tell)
    with host.spawn((*PYTHON, "-c", _program(spec))) as agent:

        def opened() -> bool:
            if agent.poll() is not None:
                raise LabError(f"{host.name}: no window: {last_words(agent.wait(OVERHEAD_S))}")
            return agent.output().startswith(OPEN.encode())

        # Each look is at what has arrived here: the host does not notice.
        Deadline(OVERHEAD_S, f"a window on {host.name}").poll(opened, interval=0.002)

        def close() -> WindowResult:
            if agent.poll() is not None:
                raise LabError(f"{host.name}: the window was closed by somebody else")
            agent.terminate()
            output = agent.wait(OVERHEAD_S).stdout
            return _decode(host.name, output.removeprefix(OPEN.encode()), ours=True)

        yield close


def _program(spec: WindowSpec) -> str:
    return f"{_agent_source()}\nmain({asdict(spec)!r})\n"


@cache
def _agent_source() -> str:
    return (resources.files(__package__) / "window_agent.py").read_text()


class _Answer(msgspec.Struct):
    """`window_agent.Answer` on the wire."""

    before: dict[str, str]
    after: dict[str, str]
    vanished: tuple[str, ...]
    errors: tuple[str, ...]
    samples: tuple[tuple[int, dict[str, str]], ...]
    opened: bool
    opened_ns: int
    window_ns: int
    started_ns: int
    announced: tuple[tuple[int, int], ...]
    before_ns: dict[str, int]
    after_ns: dict[str, int]
    rc: int | None
    stdout: str
    stderr: str
    stopped: str


def _decode(host: str, text: bytes, *, ours: bool = False) -> WindowResult:
    """The result in an answer; `ours` says that it was we who stopped the program."""
    try:
        answer = msgspec.convert(ast.literal_eval(text.decode()), _Answer)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        output = text[:500].decode(errors="replace")
        raise LabError(f"{host}: the window program answered {output!r}: {error}") from error
    if answer.errors:
        raise LabError(f"{host}: no window: {'; '.join(answer.errors)}")
    if answer.stopped and not ours:
        raise LabError(f"{host}: no window: stopped by {answer.stopped}")
    if not answer.opened:
        output = (answer.stderr.strip() or answer.stdout.strip() or "it said nothing")[-500:]
        how = "hung" if answer.stopped else f"ended with status {answer.rc}"
        raise LabError(f"{host}: no window: the command {how} before it was ready: {output}")
    started = datetime.fromtimestamp(answer.started_ns / NS_PER_S, UTC)
    return WindowResult(
        before=answer.before,
        after=answer.after,
        opened_ns=answer.opened_ns,
        window_ns=answer.window_ns,
        started=started.isoformat(timespec="milliseconds"),
        returncode=answer.rc,
        stdout=answer.stdout,
        stderr=answer.stderr,
        timed_out=ours and answer.rc is not None and bool(answer.stopped),
        vanished=answer.vanished,
        samples=answer.samples,
        announced=answer.announced,
        before_ns=answer.before_ns,
        after_ns=answer.after_ns,
    )


def combine(probes: Iterable[Probe]) -> Probe:
    """All probes as one. Counters with the same name would overwrite each other, and of several
    accounts of exits the last one counts."""
    each = tuple(probes)

    return Probe(
        name="+".join(probe.name for probe in each),
        parse=lambda result: merge(probe.parse(result) for probe in each),
        read=tuple(dict.fromkeys(path for probe in each for path in probe.read)),
        watch=tuple(dict.fromkeys(path for probe in each for path in probe.watch)),
    )


def merge(readings: Iterable[Reading]) -> Reading:
    """All that was learned, as `combine` has it."""
    counters: dict[str, int] = {}
    exits: tuple[ExitCount, ...] | None = None
    wire: tuple[WireSample, ...] = ()
    for reading in readings:
        counters |= reading.counters
        exits = exits if reading.exits is None else reading.exits
        wire = wire or reading.wire
    return Reading(counters, exits, wire)


def partner_probe(interface: str) -> Probe:
    """partner.{rx,tx}_{packets,bytes}: frames on the wire, at the partner's port.

    The window must run in the partner's namespace. Sampled, it gives `Reading.wire` too.
    """

    def parse(result: WindowResult) -> Reading:
        before, after = (
            parse_net_dev(_text(texts, OWN_NET_DEV), interface)
            for texts in (result.before, result.after)
        )
        wire = []
        for ns, texts in result.samples:
            now = parse_net_dev(_text(texts, OWN_NET_DEV), interface)
            wire.append(
                WireSample(
                    ns=ns,
                    rx_bytes=now["rx_bytes"] - before["rx_bytes"],
                    tx_bytes=now["tx_bytes"] - before["tx_bytes"],
                )
            )
        counters = {f"partner.{key}": after[key] - before[key] for key in after}
        return Reading(counters, wire=tuple(wire))

    return Probe("partner", parse, read=(OWN_NET_DEV,), watch=(OWN_NET_DEV,))


def retransmits_probe() -> Probe:
    """partner.retransmitted: TCP segments sent again in the namespace the window runs in."""

    def parse(result: WindowResult) -> Reading:
        before, after = (
            parse_retransmitted(_text(texts, OWN_SNMP)) for texts in (result.before, result.after)
        )
        return Reading({"partner.retransmitted": after - before})

    return Probe("retransmits", parse, read=(OWN_SNMP,))


def host_interface_probe(interface: str) -> Probe:
    """host.{rx,tx}_{packets,bytes}: an interface of the host's own namespace, from sysfs."""
    paths = {key: f"/sys/class/net/{interface}/statistics/{key}" for key in STATISTICS}

    def parse(result: WindowResult) -> Reading:
        def value(texts: Mapping[str, str], path: str) -> int:
            text = _text(texts, path)
            return number(text.strip(), path)

        return Reading(
            {
                f"host.{key}": value(result.after, path) - value(result.before, path)
                for key, path in paths.items()
            }
        )

    return Probe(f"host interface {interface}", parse, read=tuple(paths.values()))


def threads_probe(qemu_pid: int, *, vhost_threads: tuple[int, ...] = ()) -> Probe:
    """cpu.{vcpu,vhost,qemu}_ns: CPU time of a QEMU process's threads, by what they do.

    A thread that was born in the window counts from 0; one that ended in it is lost. If the
    process died there is no counter at all, and `WindowResult.vanished` has its files.
    Before Linux 6.4 vhost workers are threads of the kernel: see `QemuProcess.vhost_threads`.
    """
    own, kernel = f"/proc/{qemu_pid}/task", tuple(f"/proc/{tid}" for tid in vhost_threads)
    mine = (f"{own}/", *(f"{thread}/" for thread in kernel))

    def parse(result: WindowResult) -> Reading:
        before, after = (
            cpu_times({path: text for path, text in texts.items() if path.startswith(mine)})
            for texts in (result.before, result.after)
        )
        if not after:
            return Reading()
        spent = {"cpu.vcpu_ns": 0, "cpu.vhost_ns": 0, "cpu.qemu_ns": 0}
        for thread, (role, ns) in after.items():
            spent[f"cpu.{role}_ns"] += ns - before.get(thread, (role, 0))[1]
        return Reading(spent)

    files = tuple(
        f"{task}/{name}" for task in (f"{own}/*", *kernel) for name in ("comm", "schedstat")
    )
    return Probe("threads", parse, read=files)


def interrupts_probe() -> Probe:
    """irq.host: interrupts of all kinds on all CPUs of the host."""
    path = "/proc/interrupts"

    def parse(result: WindowResult) -> Reading:
        before, after = (
            sum(interrupt_counts(_text(texts, path)).values())
            for texts in (result.before, result.after)
        )
        return Reading({"irq.host": after - before})

    return Probe("interrupts", parse, read=(path,))


def _text(texts: Mapping[str, str], path: str) -> str:
    """A file that was to be read at both edges; LabError if it was not there."""
    try:
        return texts[path]
    except KeyError:
        raise LabError(f"{path} could not be read at both edges of the window") from None
