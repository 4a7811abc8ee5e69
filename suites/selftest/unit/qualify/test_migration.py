"""What ping says while a guest migrates. Migrations themselves: suites/qualification."""

from __future__ import annotations

import pytest

from harness.core.errors import LabError
from harness.qualify.checks.migration import parse_echoes

INTERRUPTED = """\
PING 127.0.0.1 (127.0.0.1) 56(84) bytes of data.
64 bytes from 127.0.0.1: icmp_seq=1 ttl=64 time=0.270 ms
64 bytes from 127.0.0.1: icmp_seq=2 ttl=64 time=0.037 ms
64 bytes from 127.0.0.1: icmp_seq=3 ttl=64 time=0.038 ms
64 bytes from 127.0.0.1: icmp_seq=4 ttl=64 time=0.036 ms
64 bytes from 127.0.0.1: icmp_seq=7 ttl=64 time=0.052 ms
64 bytes from 127.0.0.1: icmp_seq=8 ttl=64 time=0.029 ms
64 bytes from 127.0.0.1: icmp_seq=9 ttl=64 time=0.029 ms
64 bytes from 127.0.0.1: icmp_seq=10 ttl=64 time=0.040 ms
64 bytes from 127.0.0.1: icmp_seq=12 ttl=64 time=0.038 ms
64 bytes from 127.0.0.1: icmp_seq=13 ttl=64 time=0.040 ms

--- 127.0.0.1 ping statistics ---
13 packets transmitted, 10 received, 23.0769% packet loss, time 705ms
rtt min/avg/max/mdev = 0.029/0.060/0.270/0.069 ms
"""
"""Captured: ping -n -i 0.05, with icmp_echo_ignore_all set twice for a moment."""


def test_the_longest_silence_is_the_longest_row_without_an_answer() -> None:
    echoes = parse_echoes(INTERRUPTED, 0.05)
    assert (echoes.sent, echoes.lost) == (13, 3)
    assert echoes.longest_gap_ms == pytest.approx(100)
    assert str(echoes) == ("3 of 13 echo requests lost meanwhile, none answered for 100 ms at most")


def test_silence_at_the_end_counts() -> None:
    text = INTERRUPTED.replace("icmp_seq=12 ", "icmp_seq=11 ").replace("13 ttl", "13 gone")
    assert parse_echoes(text, 0.05).longest_gap_ms == pytest.approx(100)


def test_a_ping_that_was_killed_is_no_measurement() -> None:
    with pytest.raises(LabError, match="summary"):
        parse_echoes(INTERRUPTED.partition("\n---")[0], 0.05)
