"""Names for containers that were given none: `adjective_surname`, as docker's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_ADJECTIVES = """
    agile amber ample arctic avid bold brave breezy bright brisk calm candid careful cheerful
    civil clever cosmic crisp curious daring deft eager earnest easy elated epic exact fair
    fervent fond frank fresh gentle gifted glad golden graceful grand happy hardy hasty hearty
    honest hopeful humble jolly jovial keen kind lively loyal lucid lunar merry mighty modest
    musing neat nimble noble patient placid pensive polite proud quick quiet quirky rapid ready
    robust serene sharp sleek silent smart snappy solid steady stoic sunny swift tender tidy
    trusting upbeat vibrant vigilant vivid warm wise witty zealous zen
"""

_SURNAMES = """
    abel archimedes avicenna babbage banach bardeen bell bohr boole born bose cantor carson cauchy
    cerf chandrasekhar cori curie darwin dijkstra dirac easley edison einstein elion engelbart
    euclid euler faraday fermat fermi feynman fibonacci franklin galileo galois gauss germain
    goldberg goodall haibt hamilton hawking heisenberg hermite hertz hodgkin hopper huygens
    hypatia jang jennings johnson joliot kalam keller kepler khorana kilby kirch knuth kowalevski
    lamarr laplace leavitt liskov lovelace lumiere maxwell mayer mccarthy mcclintock meitner
    mendel mendeleev mestorf mirzakhani moore morse nash newton nightingale nobel noether pare
    pascal pasteur perlman planck poincare ptolemy ramanujan rhodes ride ritchie robinson rosalind
    rubin sammet shannon shaw shockley sinoussi stallman swartz tesla thompson torvalds turing
    varahamihira volhard wescoff wiles williams wilson wing wozniak wright wu yalow yonath
"""


def random_name(attempt: int = 0) -> str:
    """A name; from the second attempt on it carries a digit, so that a crowded host finds one."""
    name = f"{_choice(_ADJECTIVES.split())}_{_choice(_SURNAMES.split())}"
    return f"{name}{_choice('0123456789')}" if attempt else name


def _choice(words: Sequence[str]) -> str:
    """By hand: `random` takes longer to import than everything here."""
    return words[int.from_bytes(os.urandom(4), "little") % len(words)]
