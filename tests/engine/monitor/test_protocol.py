import marshal

import pytest

from engine.monitor import protocol
from engine.monitor.protocol import CHUNK_BYTES, PACKET_BYTES, decode, encode


def test_message_comes_back() -> None:
    message = (protocol.HELLO, 1, protocol.ATTACH, True, b"\xff")
    assert decode(encode(*message)) == message


def test_biggest_chunk_fits_a_packet() -> None:
    assert len(encode(protocol.OUT, 1, bytes(CHUNK_BYTES))) <= PACKET_BYTES


@pytest.mark.parametrize(
    "packet",
    [
        b"", b"x", b"nonsense", marshal.dumps(1), marshal.dumps(()), marshal.dumps((1, 2)),
        marshal.dumps(["in"]), encode("in", b"xyz")[:-2],
    ],
)  # fmt: skip
def test_anything_else_is_a_value_error(packet: bytes) -> None:
    with pytest.raises(ValueError, match=r"control message|marshal data|bad"):
        decode(packet)
