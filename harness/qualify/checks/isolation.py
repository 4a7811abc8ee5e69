"""What the cases of isolation share: frames known by name, settings of a VF, counts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from harness.hosts.base import Host
from harness.journal.journal import UndoCommand
from harness.qualify.rig.frames import Frame, FramePort, Sent, exchange
from harness.qualify.rig.links import pf_node
from harness.qualify.rig.node import Node
from harness.qualify.rig.rig import Port, Rig, VfSettings

EXPERIMENTAL = 0x88B5
"""Local Experimental EtherType 1 (IEEE Std 802): no network stack has a use for it."""

BROADCAST = "ff:ff:ff:ff:ff:ff"

STRANGER = "02:6e:00:5f:00:01"
"""A locally administered address that nobody on the link has."""

_MARK = re.compile(rb"nicproof frame:([^\0]+)\0")
_SHORTEST = 46  # bytes of payload (IEEE Std 802.3, 4A.2.3.2.4 with 64-byte frames)


def probe(
    name: str, sender: Node, destination: str, *, source: str = "", vlan: int | None = None
) -> Sent:
    """A frame that is known again by its name, sent from `sender`, with a tag of its own if asked.

    `source` is its source address if that is not the sender's.
    """
    return Sent(sender.place, framed(name, source or sender.mac, destination, vlan=vlan))


def framed(
    name: str,
    source: str,
    destination: str,
    *,
    vlan: int | None = None,
    ethertype: int = EXPERIMENTAL,
    payload: bytes = b"",
) -> bytes:
    """The frame of a probe; `payload` comes before its name."""
    from scapy.layers.l2 import Dot1Q, Ether

    content = (payload + b"nicproof frame:" + name.encode() + b"\0").ljust(_SHORTEST, b"\0")
    if vlan is None:
        return bytes(Ether(dst=destination, src=source, type=ethertype) / content)
    tagged = Dot1Q(vlan=vlan, type=ethertype)
    return bytes(Ether(dst=destination, src=source) / tagged / content)


PAUSE_ADDRESS, MAC_CONTROL, PAUSE = "01:80:c2:00:00:01", 0x8808, b"\x00\x01"
"""IEEE Std 802.3, annexes 31A and 31B: destination, EtherType and opcode of a pause frame."""

_QUANTUM = b"\x00\x01"  # for 512 bit times, the least: who obeys it does not notice


def pause_frame(sender: Node) -> Sent:
    """A pause frame, named "pause" in its padding."""
    data = framed(
        "pause", sender.mac, PAUSE_ADDRESS, ethertype=MAC_CONTROL, payload=PAUSE + _QUANTUM
    )
    return Sent(sender.place, data)


def pause_frames_counted(node: Node) -> int:
    """Pause frames that the node's NIC has received and, as NICs do, may have kept to itself."""
    return sum(
        count
        for name, count in node.statistics().items()
        if re.search(r"rx.*(flow_control|pause|xo(n|ff))", name)
    )


def named(frames: Sequence[Frame]) -> dict[str, Frame]:
    """The probes among these frames, by name."""
    found = {}
    for frame in frames:
        if mark := _MARK.search(frame.data):
            found[mark[1].decode()] = frame
    return found


def heard(
    host: Host,
    sent: Sequence[Sent],
    listen: Sequence[Node] = (),
    promiscuous: Sequence[Node] = (),
) -> dict[Node, dict[str, Frame]]:
    """What of these probes arrives at each node, by name."""
    at: dict[FramePort, tuple[Frame, ...]] = exchange(
        host,
        sent,
        [node.place for node in listen],
        promiscuous=[node.place for node in promiscuous],
    )
    return {node: named(at[node.place]) for node in (*listen, *promiscuous)}


@contextmanager
def vf_set(port: Port, index: int, setting: str, value: str) -> Iterator[None]:
    """`ip link set PF vf INDEX SETTING VALUE` while it lasts, afterwards as it was.

    MissingCapability if the driver has no such setting, which it says of the prior value too.
    """
    prior = _now(port.vf_settings()[index], setting)
    port.set_vf(index, setting, prior)
    back = ("ip", "link", "set", port.interface, "vf", str(index), setting, prior)
    undo = UndoCommand(back, when=f"{port.device.sysfs}/virtfn{index}")
    with port.journal.change(f"set {setting} of VF {index} to {value}", (undo,)):
        port.set_vf(index, setting, value)
        yield


def _now(vf: VfSettings, setting: str) -> str:
    """The setting's value, as `ip link set` takes it; of what the driver does not tell, the value
    that means nothing is set."""
    values = {
        "spoofchk": "on" if vf.spoofchk else "off",
        "trust": "on" if vf.trust else "off",
        "state": vf.link_state or "auto",
        "max_tx_rate": str(vf.rate.get("max_tx", 0)),
        "vlan": str(next((each["vlan"] for each in vf.vlan_list if "vlan" in each), 0)),
    }
    return values[setting]


_SPOOF_COUNTERS = re.compile(r"spoof|^tx_dma_out_of_sync$")
"""igb counts them as DMA out of sync, the cause of the interrupt by which it learns of them
(igb_msix_other, igb_check_wvbr)."""


def spoof_events(rig: Rig) -> int:
    """How many spoofed frames, or bursts of them, the PF's driver has told of so far.

    In its log ("Spoof event(s) detected on VF 0" of igb, "1 Spoofed packets detected" of ixgbe;
    Documentation/networking/device_drivers/ethernet/intel/igb.rst) and in its counters.
    """
    log = rig.host.run(("dmesg",)).text
    counted = sum(
        n for name, n in pf_node(rig).statistics().items() if _SPOOF_COUNTERS.search(name)
    )
    return len(re.findall(r"spoof", log, re.IGNORECASE)) + counted
