"""C: what a COPY brought along, secrets, dumps, big data."""

from __future__ import annotations

import re

from engine.layers.advisor.commands import is_copy
from engine.layers.advisor.ledger import Case, Ledger, Rule
from engine.layers.advisor.paths import PathRule, claim_by_path
from engine.layers.files import LiveFile
from engine.layers.secrets import find_secrets

C01 = Rule(
    "C01", "history of a version control system", "certain", "S1",
    "In .dockerignore:\n.git\n.hg\n.svn",
)  # fmt: skip
C02 = Rule("C02", "what should not have been copied", "likely", "S2")
C03 = Rule(
    "C03", "what looks like a secret", "likely", "S3",
    "RUN --mount=type=secret,id=NAME …; replace the secret: whoever has the image has it.",
)  # fmt: skip
C04 = Rule(
    "C04", "dumps, logs and temporary files", "certain", "S1",
    "RUN … && rm -rf /tmp/* /var/tmp/*",
)  # fmt: skip
C05 = Rule(
    "C05", "big data file", "advice", "S3",
    "Mount it as a volume, or fetch it at the start.",
)  # fmt: skip

_JUNK = (
    "node_modules", ".venv", "venv", ".tox", ".nox", ".mypy_cache", ".pytest_cache", ".ruff_cache",
    ".idea", ".vscode", ".DS_Store", ".github", ".gitlab-ci.yml", ".gitignore", ".dockerignore",
    "coverage", ".coverage", "htmlcov", "Dockerfile", "Containerfile", "docker-compose.yml",
    "docker-compose.yaml", "compose.yaml", "compose.yml", ".terraform", "*.log",
)  # fmt: skip
_JUNK_PATH = re.compile(
    rb"(?:.*/)?(?:"
    + b"|".join(re.escape(name.encode()).replace(rb"\*", b"[^/]+") for name in _JUNK)
    + rb")(?:/.*)?"
)
_INSTALLED = re.compile(rb"(?:usr|lib|opt|var/lib)/.*")
_BIG_BYTES = 100_000_000
_DATA = re.compile(
    rb"(?:.*/)?[^/]+\.(?:csv|parquet|json|sql|dump|bak|mp4|mov|wav|bin|onnx|pt|pth|safetensors|"
    rb"h5|pkl|npy|npz|db|sqlite3?|iso|img|gguf)"
)

_VCS = PathRule(C01, rb"(?:.*/)?\.(?:git|hg|svn)/.+")
_DUMPS = PathRule(
    C04,
    rb"(?:var/)?tmp/.+|(?:.*/)?(?:core(?:\.\d+)?|[^/]+\.hprof|hs_err_pid\d+\.log|nohup\.out)"
    rb"|(?:app|srv|opt|root|home)/.*\.log(?:\.\d+)?",
)


def find_context(case: Case, ledger: Ledger) -> None:
    claim_by_path(case, ledger, (_VCS,))
    _find_junk(case, ledger)
    claim_by_path(case, ledger, (_DUMPS,))
    _note_secrets(case, ledger)
    _note_big(case, ledger)


def _find_junk(case: Case, ledger: Ledger) -> None:
    copied = {layer for layer in range(len(case.commands)) if is_copy(case.line(layer))}
    copied -= set(range(case.base_layers))
    found: list[LiveFile] = []
    lines: set[str] = set()
    for file in ledger.unclaimed(case.files.live):
        if file.layer not in copied or _INSTALLED.fullmatch(file.path):
            continue
        if not _JUNK_PATH.fullmatch(file.path):
            continue
        if b"/node_modules/" in file.path and not _has_install(case, file.layer):
            continue  # a stage that only copies what it built needs them
        found.append(file)
        lines.update(_ignored_by(file.path))
    fix = "In .dockerignore:\n" + "\n".join(sorted(lines))
    ledger.claim(C02, found, fix=fix)


def _has_install(case: Case, layer: int) -> bool:
    """Whether a later step makes node_modules again."""
    later = range(layer + 1, len(case.commands))
    words = ("npm ", "yarn", "pnpm ")
    return any(word in case.line(at) for at in later for word in words)


def _ignored_by(path: bytes) -> list[str]:
    parts = path.decode("utf-8", "replace").split("/")
    return [
        f"**/{name}"
        for name in _JUNK
        if any(part == name or (name[0] == "*" and part.endswith(name[1:])) for part in parts)
    ]


def _note_secrets(case: Case, ledger: Ledger) -> None:
    secrets = list(find_secrets(case.files))
    if secrets:
        layers: dict[int, int] = {}
        for each in secrets:
            layers[each.layer] = layers.get(each.layer, 0) + 1
        paths = [each.path.encode("utf-8", "surrogateescape") for each in secrets]
        ledger.note(C03, paths=paths, layers=layers, severity="high")
    variables = case.config.env if case.config else ()
    names = [
        name for name in (each.partition("=")[0] for each in variables) if _SECRET.search(name)
    ]
    if names:
        text = f"{C03.fix}\nvariables of the image: {', '.join(names)}"
        ledger.note(C03, fix=text, severity="high")


_SECRET = re.compile(
    r"(?:^|_)(?:PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|PRIVATE_KEY|ACCESS_KEY)(?:_|$)"
)


def _note_big(case: Case, ledger: Ledger) -> None:
    big = [
        file
        for file in ledger.unclaimed(case.files.live)
        if file.size_bytes >= _BIG_BYTES and _DATA.fullmatch(file.path)
    ]
    if big:
        layers = {file.layer: file.size_bytes for file in big}
        ledger.note(C05, paths=[file.path for file in big], layers=layers)
