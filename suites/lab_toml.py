"""The nested lab as somebody's ordinary host: what a lab.toml says of it."""

from __future__ import annotations

from harness.labs.nested.keeper import login_lines
from harness.labs.nested.lab import NestedLab

MAY = '"bind", "sriov"'
CPUS = 'cpus = "0"'


def host_table(
    lab: NestedLab, name: str, address: str = "127.0.0.1", may: str = MAY, more: str = CPUS
) -> str:
    """The table of this lab as host `name`, reached by `address`, one of this machine's; `more`
    are further lines."""
    return f"""
        {login(lab, name, lab.ssh_port, address, may, more)}
        [[host.{name}.port]]
        bdf = "{lab.ports.dut}"
        model = "82576"
        partner = "{lab.ports.partner}"
        """


def login(
    lab: NestedLab,
    name: str,
    ssh_port: int,
    address: str = "127.0.0.1",
    may: str = MAY,
    more: str = CPUS,
) -> str:
    """Such a table without its ports; `ssh_port` is one that leads to an sshd of the lab."""
    lines = login_lines(name, ssh_port, lab.image.keys.client, address)
    return "\n".join((*lines, more, f"may = [{may}]"))
