"""The reference hash against the verification suite of Microsoft's RSS specification, and what
ethtool 6.14 printed of an igb port with two of its eight channels in use (the table's middle rows
left out)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.net.ethtool import Channels, parse_channels, parse_indirection
from harness.qualify.traffic.queues import packets_by_queue
from harness.qualify.traffic.rss import Flow, Steering, parse_key, toeplitz

KEY = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
)

VECTORS = (
    ("66.9.149.187", 2794, "161.142.100.80", 1766, 0x323E8FC2, 0x51CCC178),
    ("199.92.111.2", 14230, "65.69.140.83", 4739, 0xD718262A, 0xC626B0EA),
    ("24.19.198.95", 12898, "12.22.207.184", 38024, 0xD2D0A5DE, 0x5C2B394A),
    ("38.27.205.30", 48228, "209.142.163.6", 2217, 0x82989176, 0xAFC7327F),
    ("153.39.163.191", 44251, "202.188.127.2", 1303, 0x5D1809C5, 0x10E828A2),
    ("3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766, 0x2CC18CD5, 0x40207D3D),
    ("3ffe:501:8::260:97ff:fe40:efab", 14230, "ff02::1", 4739, 0x0F0C461C, 0xDDE51BBF),
    (
        "3ffe:1900:4545:3:200:f8ff:fe21:67cf",
        44251,
        "fe80::200:f8ff:fe21:67cf",
        38024,
        0x4B61E985,
        0x02D1FEEF,
    ),
)
"""Source, its port, destination, its port, hash of the addresses, hash with the ports."""


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector[0])
def test_the_hash_is_microsofts(vector: tuple[str, int, str, int, int, int]) -> None:
    source, source_port, destination, destination_port, addresses, with_ports = vector
    flow = Flow(source, destination, source_port, destination_port)
    assert toeplitz(KEY, flow.hashed(ports=False)) == addresses
    assert toeplitz(KEY, flow.hashed(ports=True)) == with_ports


@given(st.binary(min_size=36, max_size=36), st.binary(min_size=36, max_size=36))
def test_the_hash_is_linear(one: bytes, other: bytes) -> None:
    both = bytes(a ^ b for a, b in zip(one, other, strict=True))
    assert toeplitz(KEY, both) == toeplitz(KEY, one) ^ toeplitz(KEY, other)


def test_low_bits_of_the_hash_index_the_table() -> None:
    table = tuple(range(128))
    flow = Flow("66.9.149.187", "161.142.100.80", 2794, 1766)
    assert Steering(KEY, table).queue(flow, ports=True) == 0x51CCC178 % 128
    assert Steering(KEY, table).queue(flow, ports=False) == 0x323E8FC2 % 128


TABLE = """\

RX flow hash indirection table for eth1 with 2 RX ring(s):
    0:      0     0     0     0     0     0     0     0
  120:      1     1     1     1     1     1     1     1
RSS hash key:
Operation not supported
RSS hash function:
    toeplitz: on
    xor: off
    crc32: off
RSS input transformation:
    symmetric-xor: off
"""

HOST_KEY = (
    "b2:f5:a6:60:49:71:25:9c:ad:6b:2c:fd:d6:3d:87:a2:bc:48:f2:ef:be:2c:64:80:97:7b:c0:31:04:82:a2:"
    "bc:04:18:d0:19:d2:8b:1e:e5:f9:4f:5b:94:86:9f:b3:af:b2:3f:d9:ec\n"
)

CHANNELS = """\
Channel parameters for eth1:
Pre-set maximums:
RX:\t\tn/a
TX:\t\tn/a
Other:\t\t1
Combined:\t8
Current hardware settings:
RX:\t\tn/a
TX:\t\tn/a
Other:\t\t1
Combined:\t2
"""


def test_the_table_is_read_and_the_key_where_there_is_one() -> None:
    assert parse_indirection(TABLE) == (0,) * 8 + (1,) * 8
    assert parse_key(TABLE) == b""
    key = parse_key(HOST_KEY)
    assert (len(key), key[:2], key[-1]) == (52, b"\xb2\xf5", 0xEC)


def test_channels_are_the_combined_ones() -> None:
    assert parse_channels(CHANNELS) == Channels(most=8, now=2)
    assert parse_channels(CHANNELS.replace("Combined", "Other")) is None


def test_only_packets_of_queues_are_counted_by_queue() -> None:
    statistics = {
        "rx_packets": 9,
        "rx_queue_0_packets": 4,
        "rx_queue_0_bytes": 400,
        "rx_queue_11_packets": 5,
        "tx_queue_0_packets": 6,
    }
    assert packets_by_queue(statistics, "rx") == {0: 4, 11: 5}
    assert packets_by_queue(statistics, "tx") == {0: 6}
