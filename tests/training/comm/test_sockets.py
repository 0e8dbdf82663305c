"""Messages over TCP between posts of one process: faults of a network that collectives_check.py cannot bring about."""

import json
import socket
import struct
import threading

import pytest
import torch

from training.comm import sockets
from training.comm.peers import PeerComm
from training.comm.protocol import CollectiveError, LostRankError
from training.comm.sockets import SocketPost, own_address

BOX = (0, "x")


@pytest.fixture
def posts():
    """Three ranks of one launch."""
    made = [SocketPost(rank, "127.0.0.1", key="secret") for rank in range(3)]
    for post in made:
        post.addresses = [other.address for other in made]
    yield made
    for post in made:
        post.close()


def frame(header: object, body: bytes = b"", *, length: int | None = None) -> bytes:
    """A frame as the docstring of the module describes it."""
    text = json.dumps(header).encode()
    return struct.pack(">IQ", len(text), len(body) if length is None else length) + text + body


def write(post: SocketPost, data: bytes) -> socket.socket:
    end = socket.create_connection(post.address)
    end.sendall(data)
    return end


@pytest.mark.parametrize("attempt", range(20))
def test_what_a_rank_sends_before_it_leaves_arrives(posts, attempt):
    def leave() -> None:
        posts[1].send(torch.arange(attempt * 10_000), to=0, box=BOX)
        posts[1].close()

    threading.Thread(target=leave).start()
    sender, message = posts[0].receive([1], BOX)
    assert (sender, len(message)) == (1, attempt * 10_000)
    with pytest.raises(LostRankError, match="closed the connection"):
        posts[0].receive([1], BOX)


def test_a_rank_that_answers_is_not_silent_and_is_not_taken_for_a_sender(posts):
    assert posts[0].silence_of(1) is None
    assert posts[0].silence_of(2) is None
    threading.Timer(0.2, lambda: posts[1].send(torch.tensor(7), to=0, box=BOX)).start()
    assert posts[0].receive([1], BOX)[0] == 1


def test_a_rank_that_does_not_answer_or_is_gone_is_silent(posts, monkeypatch):
    monkeypatch.setattr(sockets, "_ANSWER_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        posts[0].addresses[1] = deaf.getsockname()
        assert posts[0].silence_of(1) == "has not answered for 0.3 s, so it is stopped or its host is overloaded"
    assert posts[0].silence_of(1).startswith("is gone (")
    posts[2].close()
    assert posts[0].silence_of(2).startswith("is gone")


def test_an_error_of_a_collective_names_the_silent_ranks_by_their_numbers_in_the_group(posts):
    group = PeerComm(0, [0, 2], local_rank=0, number=1)
    group.post = posts[0]
    posts[2].close()
    error = group.failed("gradients", RuntimeError("timed out"))
    assert str(error).startswith("'gradients' failed on rank 0 of 2: rank 1 is gone")
    assert str(error).endswith("(timed out)")
    assert error.is_consequence
    alone = PeerComm(0, [0, 1], local_rank=0)
    assert str(alone.failed("x", RuntimeError("why"))) == "'x' failed on rank 0 of 2: why"


def test_a_rank_that_has_never_spoken_and_leaves_is_an_error_for_those_who_wait(posts):
    threading.Timer(0.2, posts[1].close).start()
    with pytest.raises(LostRankError) as caught:
        posts[0].receive([2, 1], BOX)
    assert caught.value.rank == 1


def test_a_rank_that_left_long_ago_is_an_error(posts):
    posts[1].close()
    for attempt in (lambda: posts[0].receive([1], BOX), lambda: posts[0].send(torch.ones(1), to=1, box=BOX)):
        with pytest.raises(LostRankError, match="refused") as caught:
            attempt()
        assert caught.value.rank == 1


def test_the_others_are_heard_after_one_is_lost(posts):
    posts[1].close()
    with pytest.raises(LostRankError):
        posts[0].receive([1, 2], BOX)
    posts[2].send(torch.tensor(5), to=0, box=BOX)
    assert posts[0].receive([2], BOX) == (2, torch.tensor(5))


def test_a_message_that_waits_is_received_although_another_rank_is_lost(posts):
    posts[2].send(torch.tensor(5), to=0, box=BOX)
    posts[2].send(torch.tensor(6), to=0, box=(0, "sent after it"))
    posts[0].receive([2], (0, "sent after it"))
    posts[1].close()
    assert posts[0].receive([1, 2], BOX) == (2, torch.tensor(5))


def test_closing_ends_the_waiting_of_other_threads(posts):
    threading.Timer(0.2, posts[0].close).start()
    with pytest.raises(CollectiveError, match="this rank left while it waited for 'x'"):
        posts[0].receive([1], BOX)


def test_many_threads_send_over_one_link_without_mixing_their_frames(posts):
    def send(number: int) -> None:
        for _ in range(5):
            # Far more than the system takes at once, so that the threads do interrupt each other.
            posts[1].send(torch.full((1_000_000 + number,), number), to=0, box=(0, str(number)))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for number in range(4):
        for _ in range(5):
            assert posts[0].receive([1], (0, str(number)))[1].equal(torch.full((1_000_000 + number,), number))


def test_messages_of_ranks_that_were_not_asked_for_wait(posts):
    posts[1].send(torch.tensor(1), to=0, box=BOX)
    posts[1].send(torch.tensor(1), to=0, box=(0, "sent after it"))
    posts[0].receive([1], (0, "sent after it"))
    threading.Timer(0.2, lambda: posts[2].send(torch.tensor(2), to=0, box=BOX)).start()
    assert posts[0].receive([2], BOX) == (2, torch.tensor(2))
    assert posts[0].receive([1, 2], BOX) == (1, torch.tensor(1))


def test_strangers_and_noise_put_nothing_into_the_inbox_and_stop_nobody(posts):
    message = frame({"group": 0, "name": "x", "dtype": "torch.uint8", "shape": [1]}, b"!")
    noise = [
        b"GET / HTTP/1.1\r\n\r\n",
        frame({"key": "guess", "rank": 1}) + message,
        frame({"rank": 1}) + message,
        frame(["key", "rank"]) + message,
        frame({"key": "secret", "rank": 1}, length=1 << 60),
        struct.pack(">IQ", 1 << 31, 0),
        b"",
    ]
    ends = [write(posts[0], data) for data in noise]
    ends[-1].close()
    posts[1].send(torch.tensor(5), to=0, box=BOX)
    assert posts[0].receive([1], BOX) == (1, torch.tensor(5))
    posts[2].send(torch.tensor(6), to=0, box=BOX)
    assert posts[0].receive([1, 2], BOX) == (2, torch.tensor(6))
    for end in ends[:-1]:
        end.close()


@pytest.mark.parametrize(
    "bad",
    [
        frame({"group": 0, "name": "x", "dtype": "torch.float32", "shape": [2]}, b"1234567"),
        frame({"group": 0, "name": "x", "dtype": "torch.qint8", "shape": [1]}, b"1"),
        frame({"group": 0, "name": "x", "dtype": "torch.uint8", "shape": [5]}, b"123", length=5),
        frame({"name": "x"}),
        frame({"group": 0, "name": "x", "dtype": "torch.uint8", "shape": [1 << 62]}, length=1 << 62),
    ],
    ids=["wrong length", "unknown dtype", "cut off", "no group", "more than the memory"],
)
def test_a_broken_frame_is_the_loss_of_its_sender_and_never_a_message(posts, bad):
    hello = frame({"key": "secret", "rank": 1})
    good = frame({"group": 0, "name": "x", "dtype": "torch.int16", "shape": [1, 2]}, struct.pack("=2h", -3, 4))
    write(posts[0], hello + good + bad).close()
    assert posts[0].receive([1], BOX)[1].equal(torch.tensor([[-3, 4]], dtype=torch.int16))
    with pytest.raises(LostRankError):
        posts[0].receive([1], BOX)


def test_the_own_address_is_the_one_on_the_way_to_the_peer():
    assert own_address("127.0.0.1") == "127.0.0.1"
    assert own_address("::1") == "::1"
    own_address(None)
