"""All rules in their order: who asks first for a byte has it."""

from __future__ import annotations

from engine.layers.advisor import (
    binaries,
    choices,
    context,
    dead,
    documents,
    languages,
    system,
)
from engine.layers.advisor.ledger import Case, Ledger
from engine.model.analysis import Finding

_FAMILIES = (
    dead.find_dead,
    dead.find_layer_habits,
    system.find_caches,
    system.find_packages_without_need,
    documents.find_documents,
    languages.find_languages,
    context.find_context,
    binaries.find_duplicates,
    binaries.find_binaries,
    choices.find_volume_files,
    choices.note_choices,
)


def advise(case: Case) -> list[Finding]:
    """The findings, worst first. Their raw bytes add up: no byte is in two of them."""
    ledger = Ledger(case)
    for find in _FAMILIES:
        find(case, ledger)
    return ledger.sorted()
