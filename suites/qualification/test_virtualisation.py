"""Guests move from one QEMU to another where their NIC lets them, and stay where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

from fixtures.qualification.cases import Evidence
from harness.core.errors import MissingCapability
from harness.core.metrics import MMIO_REASONS
from harness.exits.accounting import exit_accounting
from harness.guest.boot import Guest
from harness.net.netdev import interface_with
from harness.net.ping import Pings, summary
from harness.paths.base import PathOptions
from harness.paths.emulated import EMULATED, Tapped
from harness.paths.parts import guest_mac
from harness.paths.sriov import vf_driver
from harness.paths.virtio import VIRTIO
from harness.pci.group import assign_to_vfio
from harness.qemu.attachment import NicAttachment
from harness.qemu.qmp import Qmp, QmpError
from harness.qualify.checks import life, migration
from harness.qualify.checks.failover import PRIMARY, Bundle, bundle, failover_pair
from harness.qualify.checks.life import Life
from harness.qualify.device import vfio
from harness.qualify.rig.act import under_test
from harness.qualify.rig.capabilities import require
from harness.qualify.rig.node import READY_S, Node, reaches, require_answers
from harness.qualify.rig.rig import Rig
from harness.qualify.rig.vf import Vf, for_guest, guest_node, vfs
from harness.window.window import Command, WindowSpec, run_window

VF = ("KVM", "SR-IOV", "IOMMU")
MAC, IP, IP6 = guest_mac("migration"), "198.18.0.40", "2001:2::40"
"""Of every guest that migrates."""


MIGRATE = tuple(
    path for path in (*EMULATED, *VIRTIO) if path.name in ("e1000e", "virtio", "virtio-vhost")
)


@pytest.mark.case("qemu", needs=("KVM",))
@pytest.mark.parametrize("path", MIGRATE, ids=lambda path: path.name)
def test_migration(rig: Rig, path: Tapped, evidence: Evidence) -> None:
    """A guest migrates to another QEMU with its memory, processes and network as they were."""
    if unmet := path.missing(rig.host, rig.ports):
        raise MissingCapability(*unmet)
    arguments = path.device_args(MAC, PathOptions())
    with migration.two_taps(rig, MAC) as taps:
        here, there = (
            NicAttachment(path.name, MAC, path.driver, arguments, fds=(tap,)) for tap in taps
        )
        with (
            migration.leaving(rig, here) as guest,
            migration.awaiting(rig, there) as destination,
        ):
            node = addressed(rig, guest, interface_with(guest.host, MAC, seconds=READY_S))
            require_answers(rig.wire, node.ip, count=10)
            before = life.begin(guest.host)
            with under_test("the migration"):
                went = migration.migrate(rig, destination, node.ip, migration.SWITCH_TAPS)
                evidence(str(went))
                assert_moved(rig, guest, node, went)
                after = life.look(migration.arrived(destination).host, before.process[0])
            assert_goes_on(before, after)


@pytest.mark.case("qemu", needs=VF)
def test_failover_pair(rig: Rig, evidence: Evidence) -> None:
    """A guest with a VF migrates on its virtio standby, and has a VF again when it has arrived."""
    both = (driver := vf_driver(rig.host, rig.port.bdf), "virtio_net")
    with (
        vfs(rig, 2) as (first, second),
        assign_to_vfio(rig.host, first.bdf, rig.journal),
        assign_to_vfio(rig.host, second.bdf, rig.journal),
        migration.two_taps(rig, MAC) as (tap, other_tap),
    ):
        rig.port.set_vf(first.index, "mac", MAC)
        here = failover_pair(first, tap, MAC, driver)
        there = failover_pair(second, other_tap, MAC, driver)
        switch = (*migration.SWITCH_TAPS, *swapped(rig, first, second))
        with (
            migration.leaving(rig, here) as guest,
            migration.awaiting(rig, there) as destination,
        ):
            # Nothing in the micro guest loads the driver of a device that is plugged in later.
            guest.host.run(("modprobe", driver))
            with under_test("a VF with its standby"):
                pair = bundle(guest.host)
                assert set(pair.settled(*both)) == set(both), f"it consists of {pair.lower()}"
                node = addressed(rig, guest, pair.interface)
                assert carrying(rig, pair, node) == driver, "its answers do not go by the VF"
            before = life.begin(guest.host)

            with under_test("the migration without the VF"):
                went = migration.migrate(rig, destination, node.ip, switch)
                evidence(str(went))
                assert_moved(rig, guest, node, went)
                unplugged = guest.qmp.wait_event({"UNPLUG_PRIMARY"}, 10.0).data["device-id"]
                assert unplugged == PRIMARY

            with under_test("the arrival, and another VF"):
                guest = migration.arrived(destination)
                assert_goes_on(before, life.look(guest.host, before.process[0]))
                pair = Bundle(guest.host, pair.interface)
                lower = pair.settled(*both)
                assert set(lower) == set(both), f"after the migration it consists of {lower}"
                standby = pair.sent(lower["virtio_net"])
                assert standby > 0, "the standby has not sent anything while the VF was away"
                assert carrying(rig, pair, node) == driver, "its answers do not go by the new VF"
            evidence(f"{first.bdf} left, the standby sent {standby} frames, {second.bdf} joined")


def swapped(rig: Rig, first: Vf, second: Vf) -> tuple[tuple[str, ...], ...]:
    """Commands that give the second VF the address that the first one has lent to a guest."""
    setting = ("ip", "link", "set", rig.port.interface, "vf")
    return (
        (*setting, str(first.index), "mac", first.mac),
        (*setting, str(second.index), "mac", MAC),
    )


def addressed(rig: Rig, guest: Guest, interface: str) -> Node:
    """The interface of a guest that is going to migrate, ready for the partner's requests."""
    node = Node(guest.host, "", interface, MAC, IP, IP6)
    node.address()
    node.await_carrier()
    rig.partner.forget(node.ip)
    return node


def assert_moved(rig: Rig, source: Guest, node: Node, went: migration.Migration) -> None:
    """The guest was migrated, runs here no more, was not missed, and answers."""
    assert went.status == "completed", f"migration {went.status}: {went.error}"
    assert source.qmp.command("query-status")["status"] == "postmigrate", "it runs here still"
    gap, allowed = went.echoes.longest_gap_ms, went.downtime_ms + migration.UNNOTICED_MS
    assert gap <= allowed, f"no answer for {gap:.0f} ms, {went.downtime_ms} ms of it standing still"
    assert reaches(rig.wire, node.ip, count=10), "no answer after the migration"


def assert_goes_on(before: Life, after: Life) -> None:
    """The guest is the same one, and its time has not stood still."""
    assert after.identity == before.identity, f"{before} has become {after}"
    assert after.uptime_s > before.uptime_s
    assert after.beats > before.beats, "its process does not run any more"


def carrying(rig: Rig, pair: Bundle, node: Node) -> str:
    """The driver of that half of a failover pair by which the guest's answers go."""
    lower = pair.lower()
    before = {driver: pair.sent(name) for driver, name in lower.items()}
    assert reaches(rig.wire, node.ip, count=10), f"no answer from {lower}"
    sent = {driver: pair.sent(name) - before[driver] for driver, name in lower.items()}
    return max(sent, key=lambda driver: sent[driver])


MAPPED, UNMAPPED = "", "x-no-mmap=on"
SETTINGS = (MAPPED, UNMAPPED, "x-no-kvm-msix=on", "rombar=1")
"""Properties of vfio-pci: registers mapped into the guest, or every access through QEMU; every
interrupt through QEMU; the BAR of an expansion ROM, which a VF has not."""


@dataclass(frozen=True)
class Passed:
    """A guest to which VFs were passed by one backend of vfio, each with another setting."""

    backend: vfio.Backend
    guest: Guest
    vfs: tuple[Vf, ...]
    nodes: dict[str, Node]  # by setting; all of them down


@pytest.fixture(scope="module", params=list(vfio.BACKENDS))
def passed(request: pytest.FixtureRequest, rig: Rig) -> Iterator[Passed]:
    """One guest for each backend."""
    backend = vfio.BACKENDS[request.param]
    require(rig, (*VF, *backend.needs))  # of a module's fixture: earlier than what a case needs
    with vfs(rig, len(SETTINGS)) as made, ExitStack() as stack:
        # The act of all that look at what comes of it.
        with under_test(f"passing VFs to a guest by {backend.name}"):
            attachments = []
            for vf, setting in zip(made, SETTINGS, strict=True):
                properties = ",".join(filter(None, (backend.properties, setting)))
                attachments.append(stack.enter_context(for_guest(rig, vf, vfio=properties)))
            if backend is vfio.IOMMUFD:
                vfio.require_device_file(rig.host, made[0].bdf)
            booted = rig.booted("passed", attachments, extra_args=backend.objects)
            guest = stack.enter_context(booted)
            nodes = [guest_node(guest, vf) for vf in made]
        yield Passed(backend, guest, made, dict(zip(SETTINGS, nodes, strict=True)))


@pytest.mark.case("kernel", needs=VF)
def test_vfio_backend(rig: Rig, passed: Passed, evidence: Evidence) -> None:
    """A guest's VF answers, and QEMU reaches the IOMMU by the backend that it was told to use."""
    with under_test("using the VF"), alone(passed.nodes[MAPPED]) as node:
        assert reaches(rig.wire, node.ip, count=10), "no answer from the VF"
    held = vfio.held(rig.host, passed.guest.qemu_pid)
    evidence(f"QEMU holds {', '.join(held)}")
    others = [each for each in vfio.BACKENDS.values() if each is not passed.backend]
    assert passed.backend.door in held, f"it holds {held}"
    assert not any(each.door in held for each in others), f"it holds {held}"


@pytest.mark.case("qemu", needs=VF)
def test_vf_stays(rig: Rig, passed: Passed, evidence: Evidence) -> None:
    """A guest with a VF is refused migration, is told why, and goes on as if nothing had been."""
    qmp = passed.guest.qmp
    with alone(passed.nodes[MAPPED]) as node, under_test("refusing to migrate"):
        message = refusal(qmp)
        evidence(f"QEMU: {message}")
        reasons = qmp.command("query-migrate").get("blocked-reasons", [])
        assert message in reasons, f"of these reasons: {reasons}"
        for vf in passed.vfs:
            assert any(vf.bdf in reason for reason in reasons), f"{vf.bdf} is none of {reasons}"
        assert qmp.command("query-status")["running"], "the guest does not run any more"
        assert reaches(rig.wire, node.ip, count=10), "no answer after the refusal"


def refusal(qmp: Qmp) -> str:
    """Why QEMU does not migrate its guest."""
    try:
        qmp.command("migrate", uri="exec:cat >/dev/null")
    except QmpError as refused:
        return refused.description
    raise AssertionError("QEMU began to migrate a guest whose VF it cannot take along")


ECHOES = 50


@pytest.mark.case("qemu", needs=VF)
@pytest.mark.parametrize("passed", [vfio.LEGACY.name], indirect=True, ids=[pytest.HIDDEN_PARAM])
@pytest.mark.parametrize("setting", SETTINGS, ids=["mapped", *SETTINGS[1:]])
def test_vfio_setting(rig: Rig, passed: Passed, setting: str, evidence: Evidence) -> None:
    """A guest's VF answers with other settings of vfio-pci, and costs MMIO exits if unmapped."""
    with (
        under_test(f"using the VF {'with ' + setting if setting else 'as it is'},"),
        alone(passed.nodes[setting]) as node,
    ):
        exits = mmio_exits(rig, passed.guest, node)
    evidence(f"{exits} MMIO exits in {ECHOES} echo requests")
    if setting == UNMAPPED:
        assert exits >= ECHOES, "fewer than one for each answer that was handed to the NIC"
    else:
        assert exits < ECHOES // 10


@contextmanager
def alone(node: Node) -> Iterator[Node]:
    """An interface of a guest, up with its addresses; afterwards down without any.

    Of several on one link Linux may answer by another than the one that was asked.
    """
    node.address()
    try:
        node.await_carrier()
        yield node
    finally:
        node.run(("ip", "address", "flush", "dev", node.interface))
        node.run(("ip", "link", "set", node.interface, "down"))


def mmio_exits(rig: Rig, guest: Guest, node: Node) -> int:
    """Exits for accesses to registers while the partner has echo requests answered."""
    echo = ("ping", "-q", "-c", str(ECHOES), "-i", "0.02", "-W", "1", node.ip)
    with exit_accounting(rig.host, guest.vcpu_tids) as probe:
        spec = WindowSpec.of(Command(echo), (probe,))
        result = run_window(rig.host, spec, netns=rig.partner.netns)
    answered = summary(result.stdout)
    assert answered == Pings(ECHOES, ECHOES), result.stdout + result.stderr
    exits = probe.parse(result).exits or ()
    return sum(each.count for each in exits if each.reason.lower() in MMIO_REASONS)
