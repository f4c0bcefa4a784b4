"""D: documentation, translations and what only builds need."""

from __future__ import annotations

import re

from engine.layers.advisor.ledger import Case, Ledger, Rule
from engine.layers.advisor.paths import PathRule, claim_by_path
from engine.layers.files import LiveFile

_EXCLUDE = (
    "Before apt-get: RUN printf 'path-exclude=%s\\n' {paths} > /etc/dpkg/dpkg.cfg.d/slim\n"
    "With dnf: --nodocs; with apk: nothing to do, docs are packages of their own"
)
D01 = Rule(
    "D01", "documentation and manuals", "certain", "S2",
    _EXCLUDE.format(paths="'/usr/share/doc/*' '/usr/share/man/*' '/usr/share/info/*'"),
)  # fmt: skip
D02 = Rule(
    "D02", "translations", "likely", "S2",
    _EXCLUDE.format(paths="'/usr/share/locale/*' '/usr/share/i18n/*'"),
)  # fmt: skip
D03 = Rule(
    "D03", "fonts, icons and desktop files", "advice", "S2",
    "Leave out the packages that bring them, unless something is drawn.",
)  # fmt: skip
D04 = Rule(
    "D04", "headers and static libraries", "likely", "S3",
    "Build in a stage of its own; a program at run time needs neither.",
)  # fmt: skip

_KEPT_LOCALE = re.compile(rb"usr/share/locale/(?:en(?:[_@].*)?|C|locale\.alias)(?:/.*)?")


def _is_foreign(file: LiveFile, case: Case) -> bool:
    """Not English, and not what LANG asks for."""
    if _KEPT_LOCALE.fullmatch(file.path):
        return False
    variables = case.config.env if case.config else ()
    languages = [
        value.split(".")[0].encode()
        for name, _, value in (each.partition("=") for each in variables)
        if name in ("LANG", "LC_ALL", "LANGUAGE") and value
    ]
    return not any(
        b"/" + part + b"/" in file.path for each in languages for part in (each, each[:2])
    )


def _has_no_compiler(file: LiveFile, case: Case) -> bool:
    return not any(
        path in case.files.by_path for path in (b"usr/bin/gcc", b"usr/bin/cc", b"usr/bin/clang")
    )


def _is_no_licence(file: LiveFile, case: Case) -> bool:
    return not file.path.rpartition(b"/")[2].lower().startswith((b"copyright", b"licen"))


RULES = (
    PathRule(D01, rb"usr/(?:local/)?share/(?:doc|man|info|gtk-doc|help)/.+", keeps=_is_no_licence),
    PathRule(
        D02,
        rb"usr/share/(?:locale|i18n)/.+|usr/lib/locale/locale-archive",
        keeps=_is_foreign,
    ),
    PathRule(D03, rb"usr/share/(?:icons|fonts|applications|sounds)/.+"),
    PathRule(
        D04,
        rb"usr/(?:local/)?include/.+|usr/(?:local/)?lib(?:64)?/.+\.(?:a|la)",
        keeps=_has_no_compiler,
    ),
)


def find_documents(case: Case, ledger: Ledger) -> None:
    claim_by_path(case, ledger, RULES)
