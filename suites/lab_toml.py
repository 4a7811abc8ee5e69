"""The nested lab as somebody's ordinary host: what a lab.toml says of it."""

from __future__ import annotations

from harness.lab.nested import NestedLab

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
    return f"""
        [host.{name}]
        address = "{address}"
        user = "root"
        ssh_port = {ssh_port}
        identity = "{lab.image.keys.client}"
        ssh_config = "/dev/null"
        known_hosts = "known_hosts"
        {more}
        may = [{may}]
        """
