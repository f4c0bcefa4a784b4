"""Y, N, G, J: caches, tests and tool chains of Python, JavaScript, Go, Rust, Java and others."""

from __future__ import annotations

import json
import re

from engine.layers.advisor.commands import appended, changed, is_run
from engine.layers.advisor.ledger import Case, Ledger, Rule
from engine.layers.advisor.paths import PathRule, claim_by_path
from engine.layers.contents import read
from engine.layers.files import LiveFile

_HOME = rb"(?:root|home/[^/]+)/"
_ROOT_HOME = "/root"
_PACKAGES = rb"(?:.*/)?(?:site|dist)-packages/"
_MODULES = rb"(?:.*/)?node_modules/"
_STAGE = (
    "Build in a stage of its own:\nFROM {image} AS build\nRUN …\nFROM {final}\nCOPY --from=build …"
)

Y01 = Rule("Y01", "cache of pip, uv or poetry", "certain", "S1")
Y02 = Rule(
    "Y02", "compiled Python", "certain", "S2",
    "ENV PYTHONDONTWRITEBYTECODE=1\nRUN pip install --no-compile …\n"
    "It costs time at every start instead.",
)  # fmt: skip
Y03 = Rule(
    "Y03", "tests and documents of Python packages", "likely", "S2",
    "RUN pip install … && find / -path '*-packages/*' -type d -name tests -prune -exec rm -rf {} +",
)  # fmt: skip
Y04 = Rule(
    "Y04", "pip and setuptools at run time", "advice", "S3",
    "Install into a venv in a build stage, and copy the venv.",
)  # fmt: skip
Y05 = Rule(
    "Y05", "CUDA without a GPU", "likely", "S3",
    "RUN pip install torch --index-url https://download.pytorch.org/whl/cpu",
)  # fmt: skip
Y06 = Rule(
    "Y06", "package cache of conda", "certain", "S1", "RUN conda install … && conda clean -afy"
)
N01 = Rule("N01", "cache of npm, yarn or pnpm", "certain", "S1")
N02 = Rule("N02", "devDependencies", "certain", "S3")
N03 = Rule(
    "N03", "maps, types, tests and documents in node_modules", "likely", "S2",
    "Bundle the program, or: RUN npm ci && npx node-prune",
)  # fmt: skip
N04 = Rule("N04", "one package several times in node_modules", "likely", "S2", "npm dedupe")
G01 = Rule(
    "G01", "Go: tool chain, modules, build cache", "likely", "S3",
    _STAGE.format(image="golang", final="scratch"),
)  # fmt: skip
G02 = Rule(
    "G02", "Rust: tool chain, registry, target", "likely", "S3",
    _STAGE.format(image="rust", final="debian:stable-slim"),
)  # fmt: skip
J01 = Rule(
    "J01", "JDK where a JRE would do", "likely", "S3",
    "RUN jlink --add-modules java.base,… --strip-debug --no-man-pages --output /jre",
)  # fmt: skip
J02 = Rule(
    "J02", "caches of Maven, Gradle, NuGet, composer or gem", "certain", "S1",
    "RUN --mount=type=cache,target=/root/.m2 mvn package",
)  # fmt: skip


def _has_source(file: LiveFile, case: Case) -> bool:
    """`a/__pycache__/m.cpython-311.pyc` can be made again from `a/m.py`."""
    directory, _, name = file.path.rpartition(b"/__pycache__/")
    module = name.partition(b".")[0] + b".py"
    return (directory + b"/" + module) in case.files.by_path


def _has_no_gpu(file: LiveFile, case: Case) -> bool:
    variables = case.config.env if case.config else ()
    return not any(each.startswith("NVIDIA_") for each in variables)


def _is_no_licence(file: LiveFile, case: Case) -> bool:
    return not file.path.rpartition(b"/")[2].upper().startswith((b"LICEN", b"NOTICE"))


def _pip(case: Case, layer: int) -> str:
    line = case.line(layer)
    if is_run(line) and "pip install" in line:
        return changed(line, line.replace("pip install", "pip install --no-cache-dir"))
    return f"RUN --mount=type=cache,target={_ROOT_HOME}/.cache pip install …"


def _npm(case: Case, layer: int) -> str:
    patch = appended(case.line(layer), "npm cache clean --force")
    return patch or "RUN --mount=type=cache,target=/root/.npm npm ci"


RULES = (
    PathRule(Y01, _HOME + rb"\.cache/(?:pip|uv|pypoetry)/.+", fix=_pip),
    PathRule(Y06, rb"opt/(?:mini|ana)?conda\d*/pkgs/.+"),
    PathRule(
        Y05,
        _PACKAGES + rb"(?:nvidia/.+|torch/lib/.*(?:cuda|cudnn|nccl|cublas).*)",
        keeps=_has_no_gpu,
    ),
    PathRule(Y02, rb".*/__pycache__/[^/]+\.pyc", keeps=_has_source),
    PathRule(
        Y03, _PACKAGES + rb"(?:[^/]+/)+(?:tests?|docs?|examples?)/.+", keeps=_is_no_licence
    ),
    PathRule(
        Y04, _PACKAGES + rb"(?:pip|setuptools|wheel|pkg_resources|ensurepip)(?:-[^/]+)?/.+"
    ),
    PathRule(
        N01,
        _HOME + rb"(?:\.npm/_cacache|\.cache/yarn|\.yarn/(?:berry/)?cache|"
        rb"\.local/share/pnpm/store)/.+|usr/local/share/\.cache/.+|(?:.*/)?\.yarn/cache/.+",
        fix=_npm,
    ),
    PathRule(
        N03,
        _MODULES + rb".*(?:\.map|\.d\.[cm]?ts|\.md|\.markdown|\.flow|/(?:tests?|__tests__)/.+)",
        keeps=_is_no_licence,
    ),
    PathRule(
        G01, rb"usr/local/go/.+|go/pkg/mod/.+|" + _HOME + rb"(?:\.cache/go-build|go/pkg/mod)/.+"
    ),
    PathRule(
        G02,
        rb"usr/local/(?:cargo|rustup)/.+|" + _HOME + rb"\.(?:cargo/registry|rustup)/.+|"
        rb"(?:.*/)?target/(?:debug|release/(?:deps|build|incremental))/.+",
    ),
    PathRule(
        J01, rb"(?:.*/)?(?:jmods/.+\.jmod|lib/src\.zip|bin/(?:javac|javadoc|jshell|jdb|jmod))"
    ),
    PathRule(
        J02,
        _HOME + rb"(?:\.m2/repository|\.gradle/caches|\.nuget/packages|\.composer/cache|"
        rb"\.cache/composer)/.+|(?:.*/)?gems/[^/]+/cache/.+\.gem|"
        rb"usr/local/bundle/cache/.+\.gem",
    ),
)  # fmt: skip


def find_languages(case: Case, ledger: Ledger) -> None:
    """Development packages first: their maps and tests go with them."""
    _find_development(case, ledger)
    claim_by_path(case, ledger, RULES)
    _find_nested(case, ledger)


def _find_development(case: Case, ledger: Ledger) -> None:
    name = b"node_modules/.package-lock.json"
    locks = [file for file in case.files.live if file.path.endswith(name)]
    texts = read(case.contents, locks)
    for lock in locks:
        try:
            packages = json.loads(texts.get(lock.node, b"")).get("packages", {})
            names = [path for path, facts in packages.items() if facts.get("dev") is True]
        except (ValueError, AttributeError):
            continue
        top = lock.path.removesuffix(name).decode("utf-8", "surrogateescape")
        prefixes = tuple(f"{top}{path}/".encode("utf-8", "surrogateescape") for path in names)
        if not prefixes:
            continue
        line = case.line(lock.layer)
        for word in ("npm ci", "npm install"):
            if is_run(line) and word in line:
                fix = changed(line, line.replace(word, f"{word} --omit=dev"))
                break
        else:
            fix = "RUN npm ci --omit=dev"
        ledger.claim(
            N02, [file for file in case.files.live if file.path.startswith(prefixes)], fix=fix
        )


_PACKAGE_JSON = re.compile(rb"(?P<where>.*node_modules/(?:@[^/]+/)?[^/]+)/package\.json")


def _find_nested(case: Case, ledger: Ledger) -> None:
    """The same version of a package in more than one place: all but the first could go."""
    hashes: dict[bytes, list[bytes]] = {}
    for file in case.files.live:
        hit = _PACKAGE_JSON.fullmatch(file.path)
        if hit is not None:
            hashes.setdefault(case.files.hash(file), []).append(hit["where"])
    again = tuple(
        where + b"/" for places in hashes.values() for where in sorted(places, key=len)[1:]
    )
    if again:
        ledger.claim(N04, [file for file in case.files.live if file.path.startswith(again)])
