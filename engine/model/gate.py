"""Whether an image keeps to the rules that were set for it."""

from __future__ import annotations

from typing import Literal

from engine.model.analysis import Analysis
from engine.named_tuple import NamedTuple

Outcome = Literal["pass", "fail", "skip"]


class Check(NamedTuple):
    """One rule and what became of it."""

    rule: str  # as the config names it
    outcome: Outcome
    text: str  # the limit, or why it failed
    path: str = ""  # a file that is to blame, with a leading slash


class Ignored(NamedTuple):
    """Something that would have failed, and why it may."""

    rule: str
    text: str
    reason: str
    expires: str  # ISO date, "" for never


class Verdict(NamedTuple):
    """An image judged."""

    analysis: Analysis
    checks: tuple[Check, ...]
    ignored: tuple[Ignored, ...]
    warnings: tuple[str, ...]  # entries that are past their date

    @property
    def passed(self) -> bool:
        return all(check.outcome != "fail" for check in self.checks)
