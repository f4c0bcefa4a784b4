"""Which rows a filter keeps. One parser for every list, so that a richer language has one door."""

from collections.abc import Callable, Sequence

Matcher = Callable[[Sequence[str]], bool]


def compile_filter(text: str) -> Matcher:
    """True for a row (its shown words) that has every term of `text` in it, in any case."""
    terms = text.lower().split()

    def matches(words: Sequence[str]) -> bool:
        row = "\0".join(words).lower()
        return all(term in row for term in terms)

    return matches
