"""The way into the lab VM, from the controller."""

from __future__ import annotations

from harness.hosts import sshpath
from harness.labs.nested.machine import NAME, Keys


def ssh_options(keys: Keys, port: int) -> tuple[str, ...]:
    """OpenSSH's options for a lab at `port` of this machine; nothing of the user's counts.

    The algorithms are the ones that cost an emulated CPU least.
    """
    return (
        *("-F", "/dev/null", "-p", str(port), *sshpath.option("IdentityFile", keys.client)),
        *("-o", "IdentitiesOnly=yes", "-o", f"HostKeyAlias={NAME}"),
        *sshpath.option("UserKnownHostsFile", keys.known_hosts),
        *("-o", "GlobalKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=yes"),
        *("-o", "KexAlgorithms=curve25519-sha256", "-o", "Ciphers=aes128-gcm@openssh.com"),
    )
