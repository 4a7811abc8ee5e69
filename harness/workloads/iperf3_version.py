"""Which iperf3 an end has, and which two of them understand each other. Pure functions.

Seen by running 3.9 to 3.21 against each other.
"""

from __future__ import annotations

import re

from harness.core.errors import ConfigError

Version = tuple[int, ...]

OLDEST: Version = (3, 11)
"""3.7 to 3.10.1 print both directions of --bidir under the same keys (esnet/iperf issue 1196), and
have no `sum_sent` and `sum_received` of UDP (pull request 1174)."""

OMITTED: Version = (3, 14)
"""From here on the ends exchange the losses of omitted seconds apart (esnet/iperf commit 87cef993
of April 2023; 3.13 has not got it)."""

THREADED: Version = (3, 16)
"""From here on each stream has a thread of its own, so that several use several CPUs (esnet/iperf,
release notes of 3.16)."""

_NUMBER = re.compile(r"^iperf (\d+(?:\.\d+)+)")


def parse_version(text: str) -> Version:
    """(3, 18) of "iperf 3.18 (cJSON 1.7.15)", as `iperf3 --version` and `start.version` have it;
    () of anything else."""
    found = _NUMBER.match(text)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def written(version: Version) -> str:
    """ "3.18"; "unknown" of ()."""
    return ".".join(map(str, version)) or "unknown"


def recorded(version: Version) -> str:
    """ "3.18, a thread for each stream", for the record of a trial."""
    threads = "a thread for each stream" if version >= THREADED else "one thread for all streams"
    return f"{written(version)}, {threads}" if version else written(version)


def require(text: str, where: str) -> Version:
    """The version in what `iperf3 --version` says; ConfigError if it is older than OLDEST."""
    version = parse_version(text)
    if version < OLDEST:
        message = written(version) if version else f"version {text.strip()[:60]!r}"
        raise ConfigError(
            f"{where}: iperf3 {message} is too old, {written(OLDEST)} or newer is wanted",
            remedy="install a newer one there: Debian 12 and Ubuntu 24.04 have one",
        )
    return version


def at_odds(client: Version, server: Version) -> str:
    """Why a UDP test between these two would tell a wrong loss; "" if it tells the right one.

    A client that knows of omitted losses takes all those of a server that does not for omitted
    ones, and says 0 % (3.14 to 3.21; the other way round the figures are right). They are not
    reckoned from the bytes instead: bytes also miss what is unread when the test ends, and one
    metric would mean two things.
    """
    if server and server < OMITTED <= client:
        return (
            f"iperf3 {written(client)}, the client, tells of no loss of UDP whatever beside "
            f"{written(server)}, the server: it takes a server of {written(OMITTED)} or newer"
        )
    return ""
