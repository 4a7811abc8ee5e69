"""The files of a set-up that outlasts a boot: facts and wishes in, text out.

Sources: Documentation/admin-guide/kernel-parameters.txt for the command line,
Documentation/PCI/pci-iov-howto.rst for VFs, Documentation/driver-api/vfio.rst for vfio-pci,
modprobe.d(5), udev(7), systemd.service(5), systemd-system.conf(5).
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from harness.core.errors import ConfigError
from harness.inventory.spec import HostSpec
from harness.inventory.view import ranges
from harness.paths.parts import guest_mac
from harness.pci.device import ROOT
from harness.persist.facts import Facts, PortFacts

WIDTH = 96


@dataclass(frozen=True)
class Wishes:
    """What the ports shall be from the boot on."""

    vfs: int = 0  # of each
    vfio: bool = False  # bound to vfio-pci as a whole

    @property
    def change(self) -> bool:
        """Whether they shall be anything else than what their drivers make of them."""
        return self.vfio or self.vfs > 0


@dataclass(frozen=True)
class File:
    """A file of the host; its first line, a comment, is its path."""

    path: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join((f"# {self.path}", *self.lines, ""))


def files(spec: HostSpec, facts: Facts, wishes: Wishes) -> tuple[File, ...]:
    """All files, those that are needed.

    ConfigError if a port offers fewer VFs than are wished for, if the inventory's CPUs are all that
    there are, or if an ID would be claimed for vfio-pci that other functions have, too.
    """
    _check(spec, facts, wishes)
    made = (
        File("/etc/default/grub.d/nicproof.cfg", tuple(_command_line(spec, facts))),
        File("/etc/systemd/system.conf.d/nicproof.conf", tuple(_manager(spec, facts))),
        File("/etc/modules-load.d/nicproof.conf", tuple(_modules(spec, facts))),
        File("/etc/modprobe.d/nicproof.conf", tuple(_modprobe(spec, facts, wishes))),
        File("/etc/udev/rules.d/70-nicproof.rules", tuple(_rules(spec, facts, wishes))),
        *(
            File(f"/etc/systemd/system/{unit(port)}", tuple(_service(spec, port, wishes.vfs)))
            for port in facts.ports
            if wishes.vfs
        ),
    )
    return tuple(file for file in made if file.lines)


def unit(port: PortFacts) -> str:
    """The unit that makes a port's VFs. Without colons, which mean something to systemd-analyze."""
    return f"nicproof-vfs-{port.bdf.replace(':', '-')}.service"


def vf_mac(spec: HostSpec, port: PortFacts, index: int) -> str:
    """A VF's address, the same at every boot and another one on every port and host."""
    return guest_mac(f"{spec.name}/{port.bdf}/vf{index}")


def _check(spec: HostSpec, facts: Facts, wishes: Wishes) -> None:
    if spec.cpus and not _rest(spec, facts):
        raise ConfigError(
            f"{spec.name}: cpus = {ranges(spec.cpus)} are all CPUs that it has, and none would be "
            "left for interrupts and services",
            remedy="leave some out of `cpus` in the inventory, the first core at least",
        )
    for port in facts.ports:
        if wishes.vfs > port.offered:
            raise ConfigError(
                f"--vfs {wishes.vfs}: {spec.name}/{port.bdf} offers {port.offered} VFs",
                remedy="fewer of them; nicproof doctor says what a port lacks for SR-IOV",
            )
    if wishes.vfio and spec.bind == "new_id" and (facts.twins or facts.held):
        others = ", ".join(sorted({*facts.twins, *facts.held}))
        raise ConfigError(
            f"{spec.name}: {others} cannot be told by an ID from what goes to vfio-pci",
            remedy='bind = "driver_override" in the inventory names functions one by one',
        )


def _comment(*sentences: str) -> Iterator[str]:
    return (f"# {line}" for line in textwrap.wrap(" ".join(sentences), WIDTH))


def _command_line(spec: HostSpec, facts: Facts) -> Iterator[str]:
    yield from _comment(
        "The kernel's command line, on Debian and Ubuntu (then: update-grub). Elsewhere hand the "
        'words on: grubby --update-kernel=ALL --args="...", or /etc/kernel/cmdline.'
    )
    for why, words in _words(spec, facts):
        yield from _comment(why)
        yield f'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {words}"'


def _words(spec: HostSpec, facts: Facts) -> Iterator[tuple[str, str]]:
    """Why, and the words."""
    if facts.iommu == "INTEL_IOMMU":
        yield "Many kernels leave Intel's IOMMU off, and vfio needs it.", "intel_iommu=on"
        pass_through = ""
    else:
        pass_through = (
            'AMD\'s IOMMU is on by itself where the BIOS has it on (amd_iommu= knows no "on"). '
        )
    yield (
        f"{pass_through}The host's own DMA is not translated: only devices of guests pay.",
        "iommu=pt",
    )
    if spec.hugepages:
        node = "" if spec.numa is None else f"{spec.numa}:"
        which = "" if spec.numa is None else f" on NUMA node {spec.numa} (Linux 5.16 and later)"
        yield (
            f"2 MiB pages for guests{which}: at boot memory is not in pieces yet.",
            f"hugepagesz=2M hugepages={node}{spec.hugepages}",
        )
    if spec.cpus:
        yield (
            "Interrupts of managed queues stay off the CPUs of a run (Linux 5.6 and later). "
            "Without `domain`: Linux does not balance load over CPUs isolated so, and all threads "
            "of a guest would stay on the first one. CPUAffinity below keeps services off them.",
            f"isolcpus=managed_irq,{ranges(spec.cpus)}",
        )


def _manager(spec: HostSpec, facts: Facts) -> Iterator[str]:
    if spec.cpus:
        yield from _comment(
            f"What systemd starts runs on these CPUs; {ranges(spec.cpus)} are left to the guests "
            "of a run, which are put there by name."
        )
        yield "[Manager]"
        yield f"CPUAffinity={ranges(_rest(spec, facts))}"


def _rest(spec: HostSpec, facts: Facts) -> tuple[int, ...]:
    """The CPUs that a run leaves to the host."""
    return tuple(cpu for cpu in facts.cpus if cpu not in spec.cpus)


def _modules(spec: HostSpec, facts: Facts) -> Iterator[str]:
    yield from _comment("What runs need, so that none has to load it (`modules` in `may`).")
    of_vfs = {port.vf_driver for port in facts.ports if port.vf_driver}
    yield from dict.fromkeys(("vfio-pci", spec.hold, "macvtap", "vhost_net", *sorted(of_vfs)))


def _modprobe(spec: HostSpec, facts: Facts, wishes: Wishes) -> Iterator[str]:
    if not wishes.vfio:
        return
    drivers = sorted({port.driver for port in facts.ports if port.driver})
    if spec.bind == "new_id":
        ids = sorted({":".join(port.ids) for port in facts.ports})
        yield from _comment("vfio-pci takes every function of these IDs that has no driver yet.")
        yield f"options vfio-pci ids={','.join(ids)}"
    if drivers:
        yield from _comment(
            "vfio-pci is there before the ports' own driver looks at them. If that is in the "
            "initial root, this has to be there, too (update-initramfs -u, dracut -f)."
        )
    for driver in drivers:
        yield f"softdep {driver} pre: vfio-pci"


def _rules(spec: HostSpec, facts: Facts, wishes: Wishes) -> Iterator[str]:
    if wishes.vfs:
        yield from _comment(
            "When a port's interface has come up in udev, and so has its final name, its VFs are "
            "made."
        )
        for port in facts.ports:
            yield (
                f'ACTION=="add", SUBSYSTEM=="net", KERNELS=="{port.bdf}", TAG+="systemd", '
                f'ENV{{SYSTEMD_WANTS}}+="{unit(port)}"'
            )
    if wishes.vfio and spec.bind == "driver_override":
        yield from _comment(
            "No other driver takes these functions, whichever comes first. This one may be there "
            "already, so it is told to look again. What shares an IOMMU group with a port is held "
            f"by {spec.hold}, since a group goes to a guest as a whole."
        )
        ours = [(port.bdf, "vfio-pci") for port in facts.ports]
        for bdf, driver in (*ours, *((each, spec.hold) for each in facts.held)):
            yield (
                f'ACTION=="add", SUBSYSTEM=="pci", KERNEL=="{bdf}", '
                f'ATTR{{driver_override}}="{driver}", RUN{{builtin}}+="kmod load {driver}", '
                f"RUN+=\"/bin/sh -c 'echo {bdf} >/sys/bus/pci/drivers_probe'\""
            )


MAX_VFS = ("igb", "ixgbe")
"""In-tree drivers with the parameter max_vfs (modinfo -p; ixgbe calls it deprecated)."""


def _service(spec: HostSpec, port: PortFacts, vfs: int) -> Iterator[str]:
    device = f"{ROOT}/{port.bdf}"
    if port.driver in MAX_VFS:
        yield from _comment(
            f"Before Linux 3.8 there is no sriov_numvfs. There, instead of this unit: options "
            f"{port.driver} max_vfs={vfs}, in modprobe.d, for all ports of {port.driver} alike."
        )
    yield "[Unit]"
    yield f"Description=VFs of {port.bdf}"
    yield ""
    yield "[Service]"
    yield "Type=oneshot"
    yield "RemainAfterExit=yes"
    yield from _comment("VFs are for guests: no driver of the host takes them (Linux 4.12).")
    yield f"ExecStart=-/bin/sh -c 'echo 0 >{device}/sriov_drivers_autoprobe'"
    yield from _comment(f"The port offers {port.offered}.")
    yield f"ExecStart=/bin/sh -c 'echo {vfs} >{device}/sriov_numvfs'"
    yield from _comment("Addresses that are the same at every boot, and that no guest can change.")
    for index in range(vfs):
        set_mac = f'ip link set dev "$$(ls {device}/net)" vf {index} mac'
        yield f"ExecStart=/bin/sh -c '{set_mac} {vf_mac(spec, port, index)}'"
    yield f"ExecStop=/bin/sh -c 'echo 0 >{device}/sriov_numvfs'"
