"""The nested lab as somebody's ordinary host: what a lab.toml says of it."""

from __future__ import annotations

from harness.lab.nested import NestedLab


def host_table(
    lab: NestedLab,
    name: str,
    address: str = "127.0.0.1",
    may: str = '"bind", "sriov"',
    more: str = 'cpus = "0"',
) -> str:
    """The table of this lab as host `name`, reached by `address`, one of this machine's; `more`
    are further lines."""
    return f"""
        [host.{name}]
        address = "{address}"
        user = "root"
        ssh_port = {lab.ssh_port}
        identity = "{lab.image.keys.client}"
        ssh_config = "/dev/null"
        known_hosts = "known_hosts"
        {more}
        may = [{may}]

        [[host.{name}.port]]
        bdf = "{lab.ports.dut}"
        model = "82576"
        partner = "{lab.ports.partner}"
        """
