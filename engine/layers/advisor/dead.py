"""L: bytes that later layers hide, and what of layers themselves could be better."""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine.layers import waste
from engine.layers.advisor.commands import changed, is_copy, is_run
from engine.layers.advisor.ledger import Case, Ledger, Rule
from engine.layers.waste import Death
from engine.storage.layer_index import NO_HASH

_REMOVED = "Remove it in the RUN that makes it; a later layer only hides it."
L01 = Rule("L01", "file removed in a later layer", "certain", "S0", _REMOVED)
L02 = Rule("L02", "directory removed in a later layer", "certain", "S0", _REMOVED)
L03 = Rule(
    "L03", "directory replaced in a later layer", "certain", "S0",
    "Fill the directory once: one COPY, or one RUN.",
)  # fmt: skip
L04 = Rule(
    "L04", "file written again with new content", "certain", "S0",
    "Write the file in one RUN, or in one COPY.",
)  # fmt: skip
L05 = Rule(
    "L05", "file copied for a chmod or chown", "certain", "S0",
    "COPY --chown=USER --chmod=MODE; or chmod in the RUN that makes the files.",
)  # fmt: skip
L06 = Rule(
    "L06", "file written again unchanged", "certain", "S0",
    "Leave out the touch or the second COPY.",
)  # fmt: skip
L07 = Rule(
    "L07", "file moved in a later layer", "certain", "S0",
    "COPY it to its final path, or move it in the RUN that makes it.",
)  # fmt: skip
L08 = Rule(
    "L08", "archive kept beside what was unpacked from it", "likely", "S1",
    "RUN curl -fsSL URL | tar -xz -C DIRECTORY, or ADD archive.tar.gz DIRECTORY/",
)  # fmt: skip
L09 = Rule(
    "L09", "RUN after RUN", "advice", "S1", "Join them: RUN first && second, or RUN <<EOF"
)  # fmt: skip
L10 = Rule("L10", "flattening would pay", "certain", "S0")
L12 = Rule(
    "L12", "path twice in one layer", "certain", "S0", "Build the layer with another tool."
)  # fmt: skip
P08 = Rule(
    "P08", "package database written again", "certain", "S0",
    "Install all packages in one RUN; each further one stores the database again.",
)  # fmt: skip

_BY_CAUSE = {
    waste.DELETED: L01, waste.DELETED_DIRECTORY: L02, waste.OPAQUE_DIRECTORY: L03,
    waste.OVERWRITTEN: L04, waste.METADATA_ONLY: L05, waste.IDENTICAL: L06,
    waste.TYPE_CHANGED: L04, waste.DUPLICATE: L12,
}  # fmt: skip
_DATABASES = re.compile(
    rb"var/lib/dpkg/(?:status|available)(?:-old)?|(?:usr/)?lib/apk/db/installed"
    rb"|(?:var/lib|usr/lib/sysimage)/rpm/.*"
)
_ARCHIVE = re.compile(rb".*\.(?:tar|tgz|tbz2|txz|tar\.(?:gz|xz|bz2|zst)|zip)")
_UNPACKS = re.compile(r"(?:^|[\s;&|(])(?:tar|unzip|bsdtar|unar)\s")
_PAIRS = 5
_MANY_RUNS, _MANY_LAYERS = 3, 40
_WORTH_FLATTENING = 0.05


def find_dead(case: Case, ledger: Ledger) -> None:
    """Every wasted byte is in one finding."""
    groups: dict[str, dict[tuple[int, int], list[Death]]] = {}
    rules: dict[str, Rule] = {}
    moved = _Moves(case)
    for death in case.files.deaths:
        rule = _BY_CAUSE[death.cause]
        path = case.files.merged.keys[death.node][1:].replace(b"\0", b"/")
        if rule in (L04, L05, L06) and _DATABASES.fullmatch(path):
            rule = P08
        elif rule is L01 and moved.is_move(death, path):
            rule = L07
        rules[rule.id] = rule
        pairs = groups.setdefault(rule.id, {})
        pairs.setdefault((death.brought, death.hidden), []).append(death)
    for name, pairs in sorted(groups.items()):
        order = sorted(pairs, key=lambda pair: (-_sum(pairs[pair]), pair))
        for pair in order[:_PAIRS]:
            ledger.claim_dead(rules[name], pairs[pair], fix=_fix(case, rules[name], *pair))
        rest = [death for pair in order[_PAIRS:] for death in pairs[pair]]
        ledger.claim_dead(rules[name], rest)
    _note_flattening(case, ledger)


def find_layer_habits(case: Case, ledger: Ledger) -> None:
    """Archives that were unpacked, and layers without need."""
    found = []
    for file in case.files.live:
        if not _ARCHIVE.fullmatch(file.path):
            continue
        name = file.path.rpartition(b"/")[2].decode("utf-8", "replace")
        later = [case.line(layer) for layer in range(file.layer, len(case.commands))]
        if any(name in line and is_run(line) and _UNPACKS.search(line) for line in later):
            found.append(file)
    ledger.claim(L08, found)
    _note_runs(case, ledger)


class _Moves:
    """Whether what a layer removes is what it writes elsewhere."""

    def __init__(self, case: Case) -> None:
        self._files = case.files
        self._rows: dict[int, dict[bytes, int]] = {}
        self._written: dict[int, set[tuple[int, bytes]]] = {}

    def is_move(self, death: Death, path: bytes) -> bool:
        index = self._files.indexes[death.brought]
        if death.brought not in self._rows:
            self._rows[death.brought] = {name: row for row, name in enumerate(index.paths())}
        row = self._rows[death.brought].get(path)
        if row is None or not index.size[row] or index.hash(row) == NO_HASH:
            return False
        if death.hidden not in self._written:
            above = self._files.indexes[death.hidden]
            self._written[death.hidden] = {
                (above.size[each], above.hash(each)) for each in range(len(above))
            }
        return (index.size[row], index.hash(row)) in self._written[death.hidden]


def _sum(deaths: Sequence[Death]) -> int:
    return sum(death.size_bytes for death in deaths)


def _fix(case: Case, rule: Rule, brought: int, hidden: int) -> str:
    """What to do about the two lines."""
    first, second = case.line(brought), case.line(hidden)
    text = [rule.fix, f"from layer {brought}, by layer {hidden}"]
    if rule is L05 and is_copy(first) and is_run(second) and _last(first) == _last(second):
        word, _, rest = first.partition(" ")
        found = re.search(r"\bchown (?:-R )?(\S+)", second)
        mode = re.search(r"\bchmod (?:-R )?(\S+)", second)
        flags = f"--chown={found[1]} " if found else ""
        flags += f"--chmod={mode[1]} " if mode else ""
        if flags:
            text.append(changed(first, f"{word} {flags}{rest}"))
            text.append(f"-{second}")
    elif is_run(first) and is_run(second) and brought + 1 == hidden:
        text.append(f"-{first}\n-{second}\n+{first} && {second.removeprefix('RUN ')}")
    elif first and second:
        text.append(f" {first}\n {second}")
    return "\n".join(text)


def _last(line: str) -> str:
    """Where a COPY goes to, or what a chown is of."""
    return line.split()[-1].rstrip("/")


def _note_flattening(case: Case, ledger: Ledger) -> None:
    dead = _sum(case.files.deaths)
    stored = dead + case.files.live_bytes
    if stored and dead >= _WORTH_FLATTENING * stored:
        share = int(100 * dead / stored)
        ledger.note(
            L10,
            fix=f"{share} % of the stored bytes are hidden. If the lines cannot be changed:\n"
            f"FROM {case.reference or 'IMAGE'} AS whole\nFROM scratch\nCOPY --from=whole / /\n"
            "and repeat ENV, CMD, ENTRYPOINT, USER and WORKDIR; layers are not shared any more.",
        )


def _note_runs(case: Case, ledger: Ledger) -> None:
    row = longest = start = 0
    for layer in range(case.base_layers, len(case.commands)):
        row = row + 1 if is_run(case.line(layer)) else 0
        if row > longest:
            longest, start = row, layer - row + 1
    if longest >= _MANY_RUNS:
        lines = "\n".join(f" {case.line(start + at)}" for at in range(longest))
        ledger.note(L09, fix=f"{L09.fix}\n{lines}")
    elif len(case.commands) > _MANY_LAYERS:
        ledger.note(L09, fix=f"{len(case.commands)} layers. {L09.fix}")
