"""One boot of one path, made ready to be measured; and one trial in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from dataclasses import replace as replace_plain
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from msgspec.structs import replace

from harness.core.errors import HarnessError, LabError, MissingCapability, RunOver
from harness.exits.accounting import exit_accounting
from harness.guest.boot import BOOT_LIMIT, Guest, boot
from harness.hosts.base import Host
from harness.inventory import LinkPlan, PortPair
from harness.journal.journal import Journal
from harness.journal.modules import lent
from harness.measure import drops
from harness.measure.endpoint import Endpoint, GuestReader, endpoint
from harness.measure.plan import PlannedBoot
from harness.measure.proof import prove
from harness.measure.search import searched
from harness.measure.watch import Watch, Watched
from harness.measure.wire import rates
from harness.net.netdev import resized
from harness.paths import select
from harness.paths.base import PathOptions
from harness.paths.partner import Partner
from harness.pci.device import Device
from harness.qemu.config import GuestConfig
from harness.records.store import RunStore
from harness.records.trial import (
    CLIENT,
    IDLE,
    PLACEMENT,
    SERVER,
    TUNING,
    Proof,
    RunInfo,
    TrialRecord,
    section,
)
from harness.tuning.coalescing import Place
from harness.tuning.placement import ANYWHERE, Placement
from harness.tuning.run import Tuning
from harness.window.drops import drops_probe
from harness.window.window import (
    Command,
    Probe,
    host_interface_probe,
    interrupts_probe,
    partner_probe,
    retransmits_probe,
    threads_probe,
)
from harness.workloads.base import FRAMING, ParsedOutput, Target, Workload
from harness.workloads.iperf3 import Iperf3
from harness.workloads.iperf3_version import Version, at_odds, recorded, require
from harness.workloads.ndr import Ndr


@dataclass(frozen=True)
class Setup:
    """A configuration, as this host can boot it."""

    guest: GuestConfig
    options: PathOptions
    rx_usecs: int | None = None  # interrupt moderation where the traffic ends, microseconds
    mtu: int | None = None  # of both ends, and of what is between them; None: as they are
    placement: Placement = ANYWHERE


@dataclass(frozen=True)
class Bench:
    """What stays the same over a run: the rig, the partner, the store, the configurations."""

    host: Host
    ports: PortPair
    link: LinkPlan
    partner: Partner
    journal: Journal
    store: RunStore
    info: RunInfo
    setups: Mapping[str, Setup]  # by the variant's name; {"": ...} where there is but one
    logs: Path
    boot_limit: float = BOOT_LIMIT  # seconds to a guest's agent
    tuning: Tuning | None = None  # of the host, which a path's provisioning undoes in part
    accounting: bool = True  # count exits; off only to measure what counting costs
    possible: set[str] = field(default_factory=set)  # paths that the host was seen to have
    numbers: Iterator[int] = field(default_factory=count)  # TrialRecord.index


@dataclass
class BootedPath:
    """A provisioned, booted, answering endpoint. `broken` says why, once it no longer is."""

    bench: Bench
    planned: PlannedBoot
    endpoint: Endpoint
    watch: Watch
    client: Version  # the partner's iperf3
    broken: str = ""
    cold: bool = True  # nothing has crossed this path since the boot

    def trial(self, workload: Workload, *, trial: int = 0, warmup: bool = False) -> TrialRecord:
        """Run `workload` in one window, prove its path, store the record and return it.

        A trial that lacks proof, whose tool failed, or that holds what is no value is stored as
        invalid with the reasons; one whose tools are known to tell a wrong figure is not made, and
        stored likewise.
        Raises LabError when the rig failed, after storing what can be said.
        """
        if self.broken:
            raise LabError(f"{self.planned.path}: no trial after an earlier failure: {self.broken}")
        draft = self._draft(workload, trial, warmup)
        if why := self._refusal(workload):
            return self._refuse(draft, why)
        try:
            self.endpoint.serve(workload.server(self._target()))
            with self._prompt(workload) as chosen:
                record = self._made(replace(draft, parameters=draft.parameters | chosen), workload)
        except MissingCapability as unmet:
            return self._refuse(draft, " - ".join(filter(None, (unmet.message, unmet.remedy))))
        except RunOver as error:
            self._spoil(draft, error.message)
            raise
        except HarnessError as error:
            message = f"{error.message}{self._diagnosis()}"
            self._spoil(draft, message)
            raise LabError(message, remedy=error.remedy) from error
        kept = self.bench.store.append(record)
        self.cold = self.cold and workload.name == IDLE
        return kept

    @contextmanager
    def _prompt(self, workload: Workload) -> Iterator[dict[str, str]]:
        """Interrupts that come soon, where they are held back and the workload waits for each. What
        was chosen for the endpoint (--rx-usecs) stays."""
        tuning, partner, end = self.bench.tuning, self.bench.partner, self.endpoint
        if tuning is None or not workload.frames.in_turn:
            yield {}
            return
        near = Place(partner.host, partner.interface, partner.netns)
        chosen_for_end = self.bench.setups[self.planned.variant].rx_usecs is not None
        with tuning.prompt(
            near if partner.host is self.bench.host else None,
            None if chosen_for_end else Place(end.host, end.interface, end.attachment.netns),
        ) as chosen:
            yield chosen

    def _refuse(self, draft: TrialRecord, why: str) -> TrialRecord:
        """Keep why a trial is not made; the boot goes on."""
        refused = replace(draft, reasons=(why,))
        self.bench.store.append(refused)
        return refused

    def _made(self, draft: TrialRecord, workload: Workload) -> TrialRecord:
        if isinstance(workload, Ndr):
            return searched(draft, workload, lambda flood: self._made(draft, flood))
        return self._record(draft, workload, self._measure(workload))

    def _refusal(self, workload: Workload) -> str:
        """Why this workload is not to be made here; "" if it is."""
        if workload.name == "udp":
            return at_odds(self.client, self.endpoint.iperf3)
        partner = self.bench.setups[self.planned.variant].mtu or self.bench.partner.mtu
        ends = {self.endpoint.interface: self.endpoint.mtu, "the partner": partner}
        for end, mtu in ends.items():
            if workload.frames.largest > mtu + FRAMING:
                largest = workload.frames.largest
                return f"frames of {largest} bytes: the MTU of {mtu} of {end} is too small"
        return ""

    def _spoil(self, draft: TrialRecord, message: str) -> None:
        """Keep what can be said of a trial that the rig spoilt; this boot gives no more."""
        self.broken = message
        self.bench.store.append(replace(draft, reasons=(f"the rig failed: {message}",)))

    def _diagnosis(self) -> str:
        """What the guest's serial log and its QEMU say, since one of them may be to blame."""
        guest = self.endpoint.guest
        return f"; {guest.diagnosis()}" if guest is not None else ""

    def _measure(self, workload: Workload) -> _Measured:
        command = workload.command(self._target())
        watched = self._watched(workload, command)
        window, reading = watched.window, watched.reading
        outcome = workload.parse(window.stdout, window.stderr, window.returncode)
        counters = reading.counters
        if outcome.sending:
            account = drops.accounts(outcome.sending, self.endpoint.attachment, counters)
            found = drops.metrics(outcome.sending, account)
            return _Measured(watched, outcome, counters | account, found)
        steady = rates(reading.wire, outcome, counters)
        if command.sample_s and not steady and not outcome.error:
            few = f"no rate: {len(reading.wire)} samples of the wire, {command.sample_s:g} s apart"
            why = "are too few for this transfer, or for the time in which it flowed both ways"
            outcome = replace_plain(outcome, error=f"{few}, {why}")
        return _Measured(watched, outcome, counters | outcome.counters, steady)

    def _watched(self, workload: Workload, command: Command) -> Watched:
        partner, attachment = self.bench.partner, self.endpoint.attachment
        ends = {"port": attachment.host_interface, "tap": attachment.tap}
        there = {name: interface for name, interface in ends.items() if interface}
        more = (drops_probe(there),) if workload.frames.counted else ()
        with ExitStack() as stack:
            for module in command.modules:
                stack.enter_context(lent(partner.host, module, partner.journal))
            return self.watch.over(command, more)

    def _target(self) -> Target:
        bench = self.bench
        return Target(
            guest_ip=bench.link.guest_ip,
            guest_mac=self.endpoint.attachment.mac,
            partner_ip=bench.partner.ip,
            partner_mac=bench.partner.mac,
            partner_interface=bench.partner.interface,
        )

    def _record(self, draft: TrialRecord, workload: Workload, measured: _Measured) -> TrialRecord:
        """The draft filled with what was measured, and judged."""
        outcome = measured.outcome
        proofs: tuple[Proof, ...] = ()
        if draft.workload != IDLE:
            proofs = prove(
                self.endpoint.attachment,
                workload=workload,
                driver=self.endpoint.driver,
                neighbour=self.bench.partner.neighbour(self.bench.link.guest_ip),
                counters=measured.counters,
                lost_bytes=outcome.lost_bytes,
            )
        reasons = [f"{proof.name}: {proof.detail}" for proof in proofs if not proof.holds]
        if outcome.error:
            reasons.insert(0, outcome.error)
        return replace(
            draft,
            window_ns=measured.watched.window.window_ns,
            wider_ns=measured.watched.wider_ns,
            guest_wider_ns=measured.watched.guest_wider_ns,
            valid=not reasons,
            reasons=tuple(reasons),
            metrics=outcome.metrics | measured.rates,
            exits=measured.watched.reading.exits,
            counters=measured.counters,
            rtt_ns=outcome.rtt_ns,
            wire=measured.watched.reading.wire,
            lost=outcome.lost,
            proofs=proofs,
            instruments=draft.instruments | outcome.instruments,
            raw=outcome.raw,
        )

    def _draft(self, workload: Workload, trial: int, warmup: bool) -> TrialRecord:
        """All that is known of a trial before it is made; invalid until it is measured."""
        info = self.bench.info
        ends = {CLIENT: recorded(self.client), SERVER: recorded(self.endpoint.iperf3)}
        mtu = self.bench.setups[self.planned.variant].mtu
        return TrialRecord(
            run=info.run,
            index=next(self.bench.numbers),
            fidelity=info.fidelity,
            clock=info.clock,
            exit_cost_ns=info.exit_cost_ns,
            host=info.host,
            nic=info.nic,
            path=self.planned.path,
            variant=self.planned.variant,
            workload=workload.name,
            block=self.planned.block,
            boot=self.planned.boot,
            trial=trial,
            warmup=warmup,
            started=datetime.now(UTC).isoformat(timespec="milliseconds"),
            window_ns=0,
            valid=False,
            offloads=self.endpoint.offloads,
            parameters=workload.parameters | ({"mtu": str(mtu)} if mtu else {}),
            instruments=ends if isinstance(workload, Iperf3) else {},
        )


@dataclass(frozen=True)
class _Measured:
    watched: Watched
    outcome: ParsedOutput
    counters: dict[str, int]
    rates: dict[str, float]


@contextmanager
def boot_path(bench: Bench, planned: PlannedBoot) -> Iterator[BootedPath]:
    """Provision the planned path, boot its guest, address it, arm the probes.

    Raises MissingCapability if the host cannot have this path, LabError if the rig fails.
    """
    (path,) = select((planned.path,))
    setup = bench.setups[planned.variant]
    if planned.path not in bench.possible:
        unmet = path.missing(bench.host, bench.ports)
        if unmet is not None:
            raise MissingCapability(*unmet)
        bench.possible.add(planned.path)
    if bench.tuning is not None:
        bench.tuning.lengthen()
    with ExitStack() as stack:
        if setup.mtu is not None:
            _resize(bench, setup.mtu, stack)
        attachment = stack.enter_context(
            path.provision(bench.host, bench.ports, bench.journal, setup.options)
        )
        guest: Guest | None = None
        machine = bench.host
        if attachment.is_guest:
            guest = stack.enter_context(
                boot(
                    bench.host,
                    replace_plain(setup.guest, name=planned.id),
                    (attachment,),
                    journal=bench.journal,
                    log_dir=bench.logs,
                    deadline_s=bench.boot_limit,
                )
            )
            machine = guest.host
        placement = setup.placement
        end = stack.enter_context(
            endpoint(
                machine,
                attachment,
                bench.link,
                guest,
                placement.vcpus or placement.qemu,
                long_ring=bench.tuning is not None,
                mtu=setup.mtu,
            )
        )
        if setup.rx_usecs is not None:
            end.moderate(setup.rx_usecs)
        if bench.tuning is not None:
            seen = bench.tuning.settle(planned.place, placement.interrupts)
            ends = {"receive ring": end.ring}
            if setup.rx_usecs is None:
                ends |= bench.tuning.moderate(machine, end.interface, attachment.netns)
            told = {
                f"{what} where traffic ends, {planned.place}": now for what, now in ends.items()
            }
            _remember(bench, TUNING, seen.moderation | told)
            _remember(bench, section(PLACEMENT, planned.variant), seen.interrupts)
        bench.partner.forget(bench.link.guest_ip)
        bench.partner.reaches(bench.link.guest_ip)
        if setup.mtu is not None:
            bench.partner.carries(bench.link.guest_ip, setup.mtu)
        watch = stack.enter_context(_watch(bench, end, placement))
        far = bench.partner.host
        client = require(far.run(("iperf3", "--version")).text, far.name)
        yield BootedPath(bench, planned, end, watch, client)


def _resize(bench: Bench, mtu: int, stack: ExitStack) -> None:
    """Give both ports this MTU, before anything is made upon them: a macvtap has that of its port,
    and some VFs take no more than that of theirs."""
    stack.enter_context(bench.partner.resized(mtu))
    if interface := Device(bench.host, bench.ports.dut).interface:
        stack.enter_context(resized(bench.host, interface, mtu, bench.journal))


THEN = "; in another boot "


def _remember(bench: Bench, name: str, seen: Mapping[str, str]) -> None:
    """Keep, in the section `name`, how the host was in this boot; what is as in an earlier one is
    kept once."""
    if not seen:
        return
    info = bench.store.info()
    known = dict(info.environment.get(name, {}))
    for what, now in seen.items():
        earlier = known[what].split(THEN) if what in known else []
        known[what] = THEN.join(dict.fromkeys((*earlier, now)))
    environment = {**info.environment, name: known}
    if environment != info.environment:
        bench.store.save_info(replace(info, environment=environment))


@contextmanager
def _watch(bench: Bench, end: Endpoint, placement: Placement) -> Iterator[Watch]:
    """What is read at the edges of every window of this boot."""
    guest, counted = end.guest, end.counted()
    far = (partner_probe(bench.partner.interface), retransmits_probe())
    near = [interrupts_probe()]
    if end.attachment.host_interface:
        near.append(host_interface_probe(end.attachment.host_interface))
    if guest is None:
        near.append(counted.probe())
    with ExitStack() as stack:
        if guest is not None:
            vhost = guest.process.vhost_threads()
            near.append(threads_probe(guest.qemu_pid, vhost_threads=vhost))
            if bench.accounting:
                near.extend(_counting(bench, guest, stack))
        reader = None if guest is None else GuestReader(guest, counted)
        yield Watch(bench.host, bench.partner, tuple(near), far, reader, placement)


def _counting(bench: Bench, guest: Guest, stack: ExitStack) -> tuple[Probe, ...]:
    """The guest's exits, where its host lets them be counted; else the run goes on without, and
    keeps why."""
    try:
        return (stack.enter_context(exit_accounting(bench.host, guest.vcpu_tids)),)
    except MissingCapability as unmet:
        info = bench.store.info()
        bench.store.save_info(replace(info, uncounted=info.uncounted or unmet.message))
        return ()
