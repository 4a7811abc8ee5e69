"""Answers requests over sockets: the end that serves of tcp-rr, udp-rr and tcp-crr.

A program of its own, which knows nothing of nicproof and needs python3 >= 3.9 and nothing else:
`python3 -I -S -c <this text> <specification as JSON>`. The specification:

    address     own address
    port        of it, for TCP and UDP; TCP's next one closes each connection after an answer
    request     bytes of payload in a request
    response    bytes of payload in its answer

It says "ready\\n" when it can be asked, and goes on until it is ended. A datagram's first byte is
its number, which its answer has, too.

The port that closes does so in the usual way and first, as a server of HTTP/1.0 does. Who closes
first keeps the connection's addresses for a minute (TIME_WAIT, RFC 9293): were that the asker, its
28,000 ports would be used up within seconds. A server in that state takes a new connection from the
same port (RFC 6191). A reset (SO_LINGER 0) would leave nothing behind either, but is not what
programs do.
"""

from __future__ import annotations

import gc
import json
import select
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

BACKLOG = 1024
SO_RCVBUFFORCE = 33
ROOM = 8 << 20
"""Bytes for datagrams that wait: none is to be lost for want of them."""

BUFFER = bytearray(1 << 16)


def bound(address: str, port: int, kind: int) -> socket.socket:
    """A socket of the own address; OSError says which port is taken."""
    own = socket.socket(socket.AF_INET, kind)
    if kind & socket.SOCK_STREAM:
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what it accepts inherits it
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        own.bind((address, port))
    except OSError as error:
        raise OSError(error.errno, f"{address} port {port}: {error.strerror}") from None
    return own


def widen(own: socket.socket) -> None:
    try:
        own.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
    except PermissionError:  # as far as net.core.rmem_max goes, then
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)


class Server:
    """Answers whoever asks, all in one thread. No socket is waited for but by epoll."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.request: int = spec["request"]
        self.response = bytes(spec["response"])
        self.poller = select.epoll()
        self.handlers: dict[int, Callable[[], None]] = {}
        address, port = spec["address"], spec["port"]
        self.datagrams = bound(address, port, socket.SOCK_DGRAM)
        widen(self.datagrams)
        self.handle(self.datagrams, self.datagram)
        self.listen(address, port, once=False)
        self.listen(address, port + 1, once=True)

    def handle(self, own: socket.socket, handler: Callable[[], None]) -> None:
        self.handlers[own.fileno()] = handler
        self.poller.register(own.fileno(), select.EPOLLIN)

    def listen(self, address: str, port: int, *, once: bool) -> None:
        listener = bound(address, port, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        listener.listen(BACKLOG)

        def accept() -> None:
            try:
                own, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            connection = Connection(self, own, once)
            self.handle(own, connection.ready)
            connection.ready()  # its request may have come with it

        self.handle(listener, accept)

    def datagram(self) -> None:
        try:
            request, asker = self.datagrams.recvfrom(1 << 16, socket.MSG_DONTWAIT)
            self.datagrams.sendto(request[:1] + self.response[1:], asker)
        except OSError:  # the asker tells what has no answer
            return

    def serve(self) -> None:
        poll, handlers = self.poller.poll, self.handlers
        while True:
            for fd, _ in poll():
                handlers[fd]()


class Connection:
    """One of the server's."""

    def __init__(self, server: Server, own: socket.socket, once: bool) -> None:
        self.server, self.own, self.once = server, own, once
        self.missing = server.request
        self.left = b""  # of an answer, what has not found room yet

    def ready(self) -> None:
        """Something has come, or there is room again."""
        try:
            if self.left:
                self.send(self.left)
                return
            got = self.own.recv_into(BUFFER, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:  # it is the asker's to tell
            got = 0
        if not got:
            self.close()
            return
        self.missing -= got
        if self.missing <= 0:
            self.missing += self.server.request
            self.send(self.server.response)

    def send(self, data: bytes) -> None:
        try:
            sent = self.own.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        waited, self.left = bool(self.left), data[sent:]
        if self.left:
            self.server.poller.modify(self.own.fileno(), select.EPOLLOUT)
        elif self.once:
            self.close()
        elif waited:
            self.server.poller.modify(self.own.fileno(), select.EPOLLIN)

    def close(self) -> None:
        del self.server.handlers[self.own.fileno()]
        self.own.close()


def main() -> None:
    spec = json.loads(sys.argv[1])
    gc.disable()
    try:
        server = Server(spec)
        print("ready", flush=True)
        server.serve()
    except OSError as error:
        sys.exit(f"cannot answer at {error.strerror}")


if __name__ == "__main__":
    main()
