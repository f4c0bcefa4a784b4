"""Digests at the border, and the ids of stacks."""

import hashlib

import pytest

from engine.errors import InvalidInput, Unsupported
from engine.oci.digest import DiffID, chain_ids, hasher, parse_digest, sha256_of


def test_whole_digests_are_taken() -> None:
    for text in ("sha256:" + "a" * 64, "sha512:" + "0" * 128):
        assert parse_digest(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        "sha256:",
        "sha256:" + "a" * 63,
        "sha256:" + "A" * 64,
        "sha256:" + "a" * 64 + "\n",
        "sha256:../" + "a" * 61,
        "sha512:" + "a" * 64,
        "SHA256:" + "a" * 64,
        ":" + "a" * 64,
    ],
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="digest"):
        parse_digest(text)


def test_other_algorithms_are_named() -> None:
    with pytest.raises(Unsupported, match="algorithm 'blake3'"):
        parse_digest("blake3:" + "a" * 64)


def test_endless_text_is_cut_in_the_message() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_digest("sha256:" + "a" * 100_000)
    assert len(caught.value.message) < 300


def test_digest_of_bytes() -> None:
    assert sha256_of(b"") == f"sha256:{hashlib.sha256().hexdigest()}"
    running = hasher("sha512", b"he")
    running.update(b"llo")
    assert running.digest() == hashlib.sha512(b"hello").digest()


def test_chain_ids_follow_the_specification() -> None:
    first, second, third = (DiffID(sha256_of(bytes([n]))) for n in range(3))
    two = "sha256:" + hashlib.sha256(f"{first} {second}".encode()).hexdigest()
    three = "sha256:" + hashlib.sha256(f"{two} {third}".encode()).hexdigest()
    assert chain_ids([first, second, third]) == [first, two, three]
    assert chain_ids([]) == []
