"""Where a host drops frames: what its interfaces count beside those that they hand on."""

from __future__ import annotations

from collections.abc import Mapping

from harness.window.counters import missed_of, number
from harness.window.window import Probe, Reading, WindowResult

FILES = ("rx_packets", "rx_dropped", "rx_missed_errors", "rx_fifo_errors")
"""In /sys/class/net/<interface>/statistics (Documentation/ABI/testing/sysfs-class-net-statistics):
handed on; dropped by the driver, for a macvtap by its full queue; missed by a NIC that had no
room for them, in one or the other of two counters."""


def drops_probe(interfaces: Mapping[str, str]) -> Probe:
    """<name>.rx_packets and <name>.rx_missed for each name -> interface of the host's own
    namespace."""

    def path(interface: str, file: str) -> str:
        return f"/sys/class/net/{interface}/statistics/{file}"

    def parse(result: WindowResult) -> Reading:
        counters = {}
        for name, interface in interfaces.items():
            grown = {
                file: _value(result.after, path(interface, file))
                - _value(result.before, path(interface, file))
                for file in FILES
            }
            missed = missed_of(grown["rx_missed_errors"], grown["rx_fifo_errors"])
            counters[f"{name}.rx_packets"] = grown["rx_packets"]
            counters[f"{name}.rx_missed"] = grown["rx_dropped"] + missed
        return Reading(counters)

    read = tuple(path(each, file) for each in interfaces.values() for file in FILES)
    return Probe("drops", parse, read=read)


def _value(texts: Mapping[str, str], path: str) -> int:
    """0 for an interface that was not there at both edges: it handed nothing on."""
    return number(texts[path].strip(), path) if path in texts else 0
