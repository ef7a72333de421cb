from __future__ import annotations

from speaker.bgp.sending import BLOB_OCTETS, LINES_IN_FLIGHT, PEER_OCTETS, QUEUED_OCTETS, Sender

MESSAGE = b"\xff" * 4096


def lines(data: bytes) -> list[list[bytes]]:
    return [line.split() for line in data.splitlines()]


def test_messages_share_lines_and_keep_their_order() -> None:
    sender = Sender(7)
    sender.put(("10.0.0.1",), [b"\x01", b"\x02"])
    sender.put(("10.0.0.1",), [b"\x03"])
    sender.put(("10.0.0.1", "10.0.0.2"), [b"\x04"])
    sender.put(("10.0.0.1",), [b"\x05"])
    assert lines(sender.pump()) == [
        [b"announce", b"raw", b"7", b"10.0.0.1", b"010203"],
        [b"announce", b"raw", b"8", b"10.0.0.1+10.0.0.2", b"04"],
        [b"announce", b"raw", b"9", b"10.0.0.1", b"05"],
    ]


def test_only_so_many_lines_are_unanswered_and_none_is_too_long() -> None:
    sender = Sender()
    sender.put(("a",), [MESSAGE] * 100)
    said = lines(sender.pump())
    assert len(said) == LINES_IN_FLIGHT
    assert all(len(line[4]) <= 2 * BLOB_OCTETS for line in said)
    assert sender.pump() == b""
    sender.answered(99, {"a": 0})
    assert sender.pump() == b"", "somebody else's answer"
    sender.answered(1, {"a": 0})
    assert lines(sender.pump())[0][2] == b"5"


def test_what_waits_here_and_there_is_congestion_of_its_peer() -> None:
    sender = Sender()
    sender.put(("slow", "fast"), [MESSAGE])
    sender.pump()
    sender.answered(1, {"slow": PEER_OCTETS + 1, "fast": 0})
    assert sender.slow() == {"slow"}
    assert sender.congested(None)
    assert sender.congested(["slow"])
    assert not sender.congested(["fast", "never heard of"])
    assert lines(sender.ask()) == [[b"announce", b"raw", b"2", b"slow"]]
    assert sender.ask() == b"", "asked already"
    sender.answered(2, {"slow": 5})
    assert not sender.congested(None)
    sender.answered(2, {"slow": PEER_OCTETS * 2})
    assert not sender.congested(None)


def test_a_session_that_ended_takes_its_backlog_along() -> None:
    for end in ("unknown to ExaBGP", "up again"):
        sender = Sender()
        sender.put(("slow",), [MESSAGE])
        sender.pump()
        sender.answered(1, {"slow": PEER_OCTETS + 1})
        if end == "up again":
            sender.up("slow")
        else:
            sender.ask()
            sender.answered(2, {"slow": None})
        assert not sender.congested(None)
        assert sender.ask() == b""


def test_much_that_waits_here_is_congestion_for_all() -> None:
    sender = Sender()
    sender.put(("a",), [MESSAGE] * (QUEUED_OCTETS // 4096 + 1))
    assert sender.congested(["b"])
    number = 1
    while sender.pump() or number <= 40:
        sender.answered(number, {"a": 0})
        number += 1
    assert not sender.congested(None)
