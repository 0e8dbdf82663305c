"""Messages between any two ranks over TCP: tensors as they are in memory, never a pickle.

Sockets of our own, because no transport here offers what parameter servers need: Horovod has collectives only; NCCL
cannot receive from whoever comes first; Gloo can, but must know the shape beforehand and tells names apart by a number.
Here a message says what it is, any thread may send and receive, and no third rank takes part. The bytes of a tensor on
a GPU go through host memory.

A link carries messages one way, from the rank that opened it at its first message. A rank that waits for another opens
a link too, and sees by its end that the other is gone. A frame is: the lengths of header and body (4 and 8 bytes, big
endian), the header in JSON (group, name, dtype, shape), and the tensor's bytes in row-major order.
"""

import hmac
import json
import math
import secrets
import socket
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import torch
from torch import Tensor

from training.comm.inbox import Inbox
from training.comm.peers import Box
from training.comm.protocol import Comm, LostRankError

_LENGTHS = struct.Struct(">IQ")
_MAX_HEADER = 1 << 16
_CONNECT_SECONDS = 30.0
_HELLO_SECONDS = 30.0
_ANSWER_SECONDS = 5.0  # a process that works answers within milliseconds
# A rank that sends its last message and leaves at once is seen to be gone before its link was accepted.
_GRACE_SECONDS = 1.0
_DTYPES = {
    str(dtype): dtype
    for dtype in (
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
        *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
    )
}


def open_post(comm: Comm, *, meeting_point: str | None) -> "SocketPost":
    """Exchange addresses with all other ranks; a collective.

    Args:
        meeting_point: a host that every rank reaches, such as the launcher's; it shows which address of this host
            the others can reach.
    """
    host = own_address(meeting_point)
    answers = comm.allgather_object([host, secrets.token_hex(16)], name="post.hosts")
    outside = [other for other, _ in answers if not ip_address(other).is_loopback]
    if outside and ip_address(host).is_loopback:  # the meeting point is this host, under a name that means loopback
        host = own_address(outside[0])
    post = SocketPost(comm.rank, host, key=answers[0][1])
    post.addresses = [tuple(address) for address in comm.allgather_object(post.address, name="post.addresses")]
    return post


def own_address(peer: str | None) -> str:
    """This host's address on the way to another; nothing is sent."""
    if peer is None:
        return socket.gethostbyname(socket.gethostname())
    family, kind, protocol, _, address = socket.getaddrinfo(peer, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(address)
        return str(probe.getsockname()[0])


class SocketPost:
    """One rank's end of all links.

    Args:
        rank: this rank in the launch.
        host: the address to listen at; the system chooses the port.
        key: a secret of the launch, without which nobody's messages are read.
    """

    def __init__(self, rank: int, host: str, *, key: str) -> None:
        self._rank, self.host, self._key = rank, host, key
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=socket.SOMAXCONN)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self.addresses: list[tuple[str, int]] = []
        self._inbox = Inbox()
        self._links: dict[int, _Link] = {}
        self._accepted: list[socket.socket] = []
        self._opening = threading.Lock()
        _start(self._accept, f"post of rank {rank}")

    def send(self, tensor: Tensor, *, to: int, box: Box) -> None:
        body = tensor.detach().cpu().contiguous()
        header = {"group": box[0], "name": box[1], "dtype": str(body.dtype), "shape": list(body.shape)}
        assert header["dtype"] in _DTYPES, f"{box[1]!r}: no messages of {body.dtype}"
        try:
            self._link(to).send(header, body.reshape(-1).view(torch.uint8).numpy().data)
        except OSError as error:
            raise LostRankError(f"is gone ({error})", to) from error

    def receive(self, sources: Sequence[int], box: Box) -> tuple[int, Tensor]:
        found = self._inbox.take_waiting(sources, box)
        if found is not None:
            return found
        for source in sources:
            self._watch(source)
        return self._inbox.take(sources, box)

    def silence_of(self, rank: int) -> str | None:
        """Ask a rank whether it is alive; None where it answers, else the words for its silence.

        Answers come from a thread of their own, so that a rank which computes or waits is not taken for a silent one.
        """
        try:
            with socket.create_connection(self.addresses[rank], timeout=_ANSWER_SECONDS) as end:
                _Link(end).send({"key": self._key, "rank": self._rank, "asks": True}, memoryview(b""))
                return None if end.recv(1) else "is gone"
        except TimeoutError:
            return f"has not answered for {_ANSWER_SECONDS:g} s, so it is stopped or its host is overloaded"
        except OSError as error:
            return f"is gone ({error})"

    def close(self) -> None:
        """Close all links; messages that were sent still arrive."""
        self._inbox.close()
        with self._opening:
            ends = [self._listener, *self._accepted, *(link.socket for link in self._links.values())]
        for end in ends:
            with suppress(OSError):  # the other side was faster
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _link(self, to: int) -> "_Link":
        with self._opening:
            if to not in self._links:
                end = socket.create_connection(self.addresses[to], timeout=_CONNECT_SECONDS)
                end.settimeout(None)
                _keep_alive(end)
                self._links[to] = link = _Link(end)
                link.send({"key": self._key, "rank": self._rank}, memoryview(b""))
                _start(lambda: self._await_end(link, to), f"watch on rank {to}")
            return self._links[to]

    def _watch(self, source: int) -> None:
        """Make sure that the end of a rank is noticed."""
        if not self._inbox.hears(source):
            try:
                self._link(source)
            except OSError as error:
                self._lose(source, str(error))

    def _await_end(self, link: "_Link", to: int) -> None:
        reason = "it closed the connection"
        try:
            link.socket.recv(1)  # nothing comes this way but the end
        except OSError as error:
            reason = str(error)
        self._lose(to, reason)

    def _lose(self, source: int, reason: str) -> None:
        """A rank is gone; its own link, if there is one, is read to its end first."""
        if not self._inbox.hears(source):
            time.sleep(_GRACE_SECONDS)
        if not self._inbox.hears(source):
            self._inbox.lose(source, reason)

    def _accept(self) -> None:
        while True:
            try:
                end, _ = self._listener.accept()
            except OSError:
                if self._inbox.is_closed:
                    return
                time.sleep(_GRACE_SECONDS)  # the process has no file handle left for now
                continue
            self._accepted.append(end)
            _start(lambda end=end: self._read(end), f"link to rank {self._rank}")

    def _read(self, end: socket.socket) -> None:
        """Put what comes over a link into the inbox, until it ends."""
        source, reason = None, "it closed the connection"
        try:
            _keep_alive(end)
            end.settimeout(_HELLO_SECONDS)
            source = self._greeted(end)
            if source is None:
                end.sendall(b"1")
                end.close()
                return
            end.settimeout(None)
            self._inbox.hear(source)
            while True:
                header, body = _receive_frame(end)
                self._inbox.put(source, (header["group"], header["name"]), _tensor(header, body))
        except Exception as error:  # no memory, for one; whatever it is, those who wait shall know
            reason = str(error) or reason
        end.close()
        if source is not None:
            self._inbox.lose(source, reason)

    def _greeted(self, end: socket.socket) -> int | None:
        """The rank that has opened a link to here; None for one that only asks whether this rank is alive."""
        hello, _ = _receive_frame(end, max_body=0)
        if not hmac.compare_digest(str(hello["key"]), self._key):
            raise ValueError("a stranger")
        return None if hello.get("asks") else int(hello["rank"])


class _Link:
    """The sending end of a connection; one message at a time."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self._sending = threading.Lock()

    def send(self, header: dict[str, Any], body: memoryview) -> None:
        text = json.dumps(header).encode()
        assert len(text) <= _MAX_HEADER, "a name of a message has at most some 60 thousand characters"
        with self._sending:
            self.socket.sendall(_LENGTHS.pack(len(text), len(body)) + text)
            self.socket.sendall(body)


def _receive_frame(end: socket.socket, max_body: int | None = None) -> tuple[dict[str, Any], Tensor]:
    header_length, body_length = _LENGTHS.unpack(_receive(end, _LENGTHS.size).numpy().tobytes())
    if header_length > _MAX_HEADER or (max_body is not None and body_length > max_body):
        raise ValueError("no frame of ours")
    header = json.loads(_receive(end, header_length).numpy().tobytes())
    return header, _receive(end, body_length)


def _receive(end: socket.socket, length: int) -> Tensor:
    received = torch.empty(length, dtype=torch.uint8)
    rest = received.numpy().data
    while rest:
        count = end.recv_into(rest, 0, socket.MSG_WAITALL)
        if not count:
            raise OSError("it closed the connection")
        rest = rest[count:]
    return received


def _tensor(header: dict[str, Any], body: Tensor) -> Tensor:
    dtype, shape = _DTYPES[header["dtype"]], header["shape"]
    if len(body) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{len(body)} bytes are no {dtype} of shape {shape}")
    return body.view(dtype).reshape(shape)


def _keep_alive(end: socket.socket) -> None:
    """Let the system notice, within a minute, a host that has vanished without closing its connections."""
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    limits = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 10, "TCP_USER_TIMEOUT": 60_000}
    for option, value in limits.items():
        if hasattr(socket, option):  # the names are Linux's
            end.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _start(work: Any, name: str) -> None:
    threading.Thread(target=work, name=name, daemon=True).start()
