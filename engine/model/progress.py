"""How far a long piece of work is."""

from typing import Literal

from engine.named_tuple import NamedTuple

Phase = Literal[
    "queued",
    "waiting",
    "resolving",
    "downloading",
    "retrying",
    "verifying",
    "extracting",
    "exporting",
    "compressing",
    "uploading",
    "mounted",
    "exists",
    "done",
    "cached",
    "cancelled",
    "error",
]


class Progress(NamedTuple):
    """`id` is a layer's short digest, or "" for the work as a whole; `current` never runs back."""

    id: str
    phase: Phase
    current: int = 0
    total: int = 0
    text: str = ""
