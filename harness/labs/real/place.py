"""A host's place in a labgrid coordinator, ours while a run lasts, for labs that share by labgrid.

It is labgrid's own client that acquires and releases it, in a program of its own, so for the
coordinator we are whoever the user is to labgrid ($LG_USERNAME, $LG_HOSTNAME).
"""

from __future__ import annotations

import importlib.util
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from harness.core.errors import ConfigError, LabError
from harness.hosts.base import CommandResult
from harness.hosts.local import LocalHost
from harness.inventory.spec import HostSpec, Place, nearest

LIMIT = 60.0
"""Seconds for labgrid's client to start, to reach the coordinator and to be answered."""

OURS = "You have already acquired place {name}."
"""What the client (labgrid/remote/client.py, _acquire_place) says of a place that this user has
acquired on this machine. On another one, and of somebody else, it goes on."""

PLAIN = {"LG_ENV": "", "LG_STATE": "", "LG_INITIAL_STATE": ""}
"""What would have the client take its places from a file of the user's instead."""


@contextmanager
def place_held(spec: HostSpec) -> Iterator[None]:
    """The place of this host, if it has one, is ours until the context ends.

    One that the user had acquired before stays the user's. Raises ConfigError if it is somebody
    else's, which is said with the name, if the coordinator knows no such place or cannot be
    reached, and if labgrid is not installed; LabError if it cannot be released.
    """
    place = spec.place
    if place is None or not _acquired(spec.name, place):
        yield
        return
    try:
        yield
    finally:
        released = _client(place, "release")
        if released.returncode != 0:
            raise LabError(
                f"{spec.name}: labgrid's {place} is not released: {_said(released)}",
                remedy=f"labgrid-client {shlex.join(_named(place))} release",
            )


def _acquired(host: str, place: Place) -> bool:
    """Whether the place was free and is ours now; False if it was the user's own already."""
    if importlib.util.find_spec("labgrid") is None:
        raise ConfigError(
            f"{host}: its place is in labgrid, and labgrid's client is not installed",
            remedy=f"{sys.executable} -m pip install 'labgrid>=25'",
        )
    known = _client(place, "places")
    names = [line.split()[0] for line in known.text.splitlines()]
    if known.returncode == 0 and place.name not in names:
        # The client would take any place whose name has this one in it.
        raise ConfigError(f"{host}: there is no {place}", remedy=nearest(place.name, names))
    result = known if known.returncode else _client(place, "acquire")
    message = _said(result)
    if result.returncode and message != OURS.format(name=place.name):
        raise ConfigError(
            f"{host}: labgrid's {place} cannot be acquired: {message}",
            remedy=f"labgrid-client -x {place.coordinator} who, to see who has what",
        )
    return result.returncode == 0


def _client(place: Place, verb: str) -> CommandResult:
    argv = (sys.executable, "-m", "labgrid.remote.client", *_named(place), verb)
    return LocalHost(env=PLAIN).run(argv, timeout=LIMIT, check=False)


def _named(place: Place) -> tuple[str, ...]:
    return ("-x", place.coordinator, "-p", place.name)


def _said(result: CommandResult) -> str:
    """The client's own words: they follow the name of the program and the kind of message."""
    lines = (result.error or result.text).strip().splitlines() or ["it said nothing"]
    return lines[-1].rpartition("Error: ")[2]
