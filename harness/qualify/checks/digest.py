"""The state of a host that nicproof may touch, as text that can be compared: name -> value.

What changes by itself is left out: carriers, counters, process ids, the numbers of interfaces and
interrupts. So two digests are equal exactly if nothing was left changed between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from harness.core.errors import LabError
from harness.hosts.base import Host
from harness.hosts.orphans_agent import MARK
from harness.journal.journal import DIRECTORY
from harness.qemu.argv import RUN

State = dict[str, str]

LIMIT = 120.0
"""Seconds to look at everything; 7 in an emulated machine."""

LOOK = r"""
value() { [ -r "$2" ] && read -r text <"$2" && echo "$1=$text"; }
section() { printf '\n== %s\n' "$1"; }

section functions
for device in /sys/bus/pci/devices/*; do
    read -r class <"$device/class"
    case $class in 0x02*) ;; *) continue ;; esac
    bdf=${device##*/}
    driver=$(readlink "$device/driver")
    echo "$bdf driver=${driver##*/}"
    for name in driver_override sriov_numvfs sriov_drivers_autoprobe reset_method msi_bus; do
        value "$bdf $name" "$device/$name"
    done
    [ -e "$device/msi_irqs" ] && for irq in $(ls "$device/msi_irqs" | sort -n); do
        read -r text <"/proc/irq/$irq/smp_affinity_list" && echo "$bdf affinity=$text"
    done
done

section namespaces
ip netns list

section addresses
ip -j -d address show
for netns in $(ip netns list | cut -d ' ' -f 1); do
    section "addresses $netns"
    ip -n "$netns" -j -d address show
done

section settings
for net in /sys/class/net/*; do
    [ -e "$net/device" ] || continue
    net=${net##*/}
    for of in g l k a c; do
        echo "@ $net -$of"
        ethtool "-$of" "$net" 2>/dev/null
    done
done | sed -n '/^@ /{s///;h;d}; s/^\s*\([^:]*\):\s*/\1=/; T; G; s/\(.*\)\n\(.*\)/\2 \1/p'

section values
# Not read by the shell: byte by byte a sysctl has no second byte, the end of its line.
cd /proc/sys/net
grep -sH . ipv4/conf/*/arp_ignore ipv4/conf/*/arp_announce ipv4/conf/*/rp_filter \
    ipv4/conf/*/forwarding ipv6/conf/*/disable_ipv6 ipv6/conf/*/forwarding ipv6/conf/*/accept_ra |
    sed 's|^|/proc/sys/net/|; s/:/=/'
grep -sH . \
    /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor \
    /sys/devices/system/cpu/cpu*/cpufreq/energy_performance_preference \
    /proc/irq/default_smp_affinity | sed 's/:/=/'

section things
cd /proc
# Known by their names, and all that somebody else's connection has under way.
own=$(grep -zs "^$3=" self/environ | tr -d '\0')
{
    grep -lsE '^(qemu|iperf3|tcpdump)' [0-9]*/comm
    grep -LszxF -e "$own" /dev/null $(grep -lsz "^$3=" [0-9]*/environ)
} | cut -d / -f 1 | sort -u | while read -r pid; do
    [ -r "$pid/comm" ] && read -r name <"$pid/comm" && echo "process $name"
done
for pid in $(pgrep -x irqbalance); do
    grep -qs '^State:.T' "$pid/status" && echo "irqbalance is paused"
done
find "$1" "$2" -mindepth 1 2>/dev/null
for path in /dev/vfio/[0-9]* /dev/tap[0-9]*; do
    [ -e "$path" ] && echo "$path"
done
exit 0
"""
"""What is asked of a host, in one command, of as few programs as will do: each is a hundredth of a
second and more in the nested lab."""

TRANSIENT = {"LOWER_UP", "NO-CARRIER"}
"""Flags that tell of the cable, not of what anybody has set."""


KERNELS_OWN = {"noop", "mq", "noqueue", "pfifo_fast", "fq", "codel", "fq_codel", "fq_pie", "sfq"}
"""Queueing disciplines that the kernel gives an interface by itself (attach_default_qdiscs and
dev_init_scheduler in net/sched/sch_generic.c), by whichever default it has (NET_SCH_DEFAULT in
net/sched/Kconfig, net.core.default_qdisc)."""


class _Address(msgspec.Struct, frozen=True):
    local: str
    prefixlen: int
    scope: str = ""


class _Kind(msgspec.Struct, frozen=True):
    info_kind: str = ""
    info_data: dict[str, Any] = {}  # msgspec makes a new one for each

    def __str__(self) -> str:
        """With the tag of a VLAN."""
        if self.info_kind != "vlan":
            return self.info_kind or "device"
        return f"vlan {self.info_data.get('protocol')} {self.info_data.get('id')}"


class _Interface(msgspec.Struct, frozen=True):
    """One interface as `ip -j -d address show` prints it; what we do not use is passed over."""

    ifname: str
    flags: tuple[str, ...]
    mtu: int
    address: str = ""
    master: str = ""
    promiscuity: int = 0
    allmulti: int = 0
    qdisc: str = ""
    txqlen: int = 0
    linkinfo: _Kind = _Kind()
    addr_info: tuple[_Address, ...] = ()
    vfinfo_list: tuple[dict[str, Any], ...] = ()


def digest(host: Host) -> State:
    """The host's state by one command."""
    return parse(host.run(("sh", "-c", LOOK, "sh", RUN, DIRECTORY, MARK), timeout=LIMIT).text)


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    """A line for each thing that is not as it was, in the order of their names."""
    return tuple(
        f"{name}: {before.get(name, 'absent')} -> {after.get(name, 'absent')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    )


def parse(text: str) -> State:
    """From what LOOK prints; LabError if a part of it is not what it should be."""
    state: State = {}
    for part in text.split("\n== ")[1:]:
        title, _, body = part.partition("\n")
        name, _, netns = title.partition(" ")
        prefix = f"{netns}/" if netns else ""
        state |= {f"{prefix}{key}": value for key, value in _PARSERS[name](body)}
    return state


def _assignments(body: str) -> Iterator[tuple[str, str]]:
    """Lines "name=value"; of a name that comes again the values are put together."""
    found: dict[str, list[str]] = {}
    for line in body.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            found.setdefault(name, []).append(value.strip())
    return ((name, " ".join(values)) for name, values in found.items())


def _interfaces(body: str) -> Iterator[tuple[str, str]]:
    try:
        interfaces = msgspec.json.decode(body or "[]", type=tuple[_Interface, ...])
    except msgspec.DecodeError as error:
        raise LabError(f"ip printed what is not the JSON expected: {error}") from error
    for each in interfaces:
        name = each.ifname
        yield f"{name} flags", " ".join(sorted(set(each.flags) - TRANSIENT))
        yield f"{name} link", f"{each.linkinfo} {each.address}"
        yield f"{name} mtu", str(each.mtu)
        yield f"{name} queueing", f"{_queueing(each)} {each.txqlen} {each.master}".strip()
        yield f"{name} listens to all", f"{each.promiscuity} unicast, {each.allmulti} multicast"
        yield f"{name} addresses", " ".join(sorted(_lasting(each.addr_info)))
        for vf in each.vfinfo_list:
            setting = {key: value for key, value in vf.items() if key != "vf"}
            yield f"{name} vf {vf['vf']}", msgspec.json.encode(setting, order="sorted").decode()


def _queueing(interface: _Interface) -> str:
    """The queueing discipline. One that is down has none of the kernel's yet if it never was up in
    its namespace, and still has it if it was: it gets it whenever it is set up."""
    if "UP" not in interface.flags and interface.qdisc in KERNELS_OWN:
        return "the kernel's"
    return interface.qdisc


def _lasting(addresses: tuple[_Address, ...]) -> Iterator[str]:
    """Without those that the kernel gives itself whenever a link comes up (RFC 4862, 5.3)."""
    return (f"{each.local}/{each.prefixlen}" for each in addresses if each.scope != "link")


def _things(body: str) -> Iterator[tuple[str, str]]:
    """Lines that name what is there."""
    lines = body.split("\n")
    return ((line, str(lines.count(line))) for line in sorted(set(lines)) if line)


def _namespaces(body: str) -> Iterator[tuple[str, str]]:
    yield "namespaces", " ".join(sorted(line.split()[0] for line in body.splitlines() if line))


_PARSERS: dict[str, Callable[[str], Iterator[tuple[str, str]]]] = {
    "functions": _assignments,
    "namespaces": _namespaces,
    "addresses": _interfaces,
    "settings": _assignments,
    "values": _assignments,
    "things": _things,
}
