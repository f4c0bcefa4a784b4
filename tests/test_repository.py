"""The tree as a whole: every file has its test, and names only what is there for everybody."""

import re
import sys
import sysconfig
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).parents[1]
_NOT_OURS = {
    ".git", ".venv", ".cache", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis",
    ".import_linter_cache", "__pycache__", "dist",
}  # fmt: skip

# Files without a test file of their own name, and where they are tested instead.
ELSEWHERE = {
    "engine/cli/call.py": "tests/engine/cli/test_main.py",
    "engine/cli/cidfile.py": "tests/engine/cli/test_naming.py",
    "engine/cli/df.py": "tests/engine/cli/test_prune.py",
    "engine/cli/download.py": "tests/engine/cli/test_archives.py",
    "engine/cli/files.py": "tests/engine/cli/test_archives.py",
    "engine/cli/resources.py": "tests/engine/cli/test_confinement.py",
    "engine/cli/template_tokens.py": "tests/engine/cli/test_templates.py",
    "engine/connect.py": "tests/contract",
    "engine/engine.py": "tests/contract",
    "engine/errors.py": "tests/e2e/test_faults.py",
    "engine/exit_command.py": "tests/e2e/test_cli_story.py",
    "engine/follow.py": "tests/engine/test_events.py",
    "engine/layers/advisor/*.py": "tests/engine/layers/advisor/test_rules.py",
    "engine/layers/analyze.py": "tests/engine/layers/test_files.py",
    "engine/layers/base.py": "tests/engine/layers/test_files.py",
    "engine/layers/cache.py": "tests/engine/layers/test_source.py",
    "engine/layers/merge.py": "tests/engine/layers/test_tree.py",
    "engine/layers/secrets.py": "tests/engine/layers/test_files.py",
    "engine/layers/walk.py": "tests/engine/layers/test_source.py",
    "engine/local.py": "tests/contract",
    "engine/model/*.py": "tests/contract",
    "engine/monitor/entry.py": "tests/engine/monitor/test_main.py",
    "engine/monitor/peer.py": "tests/engine/monitor/test_main.py",
    "engine/network/bridge.py": "tests/engine/network/test_endpoint.py",
    "engine/network/fabric.py": "tests/engine/network/test_networking.py",
    "engine/registry/dial.py": "tests/engine/registry/test_transport.py",
    "engine/registry/download.py": "tests/engine/registry/test_pull.py",
    "engine/registry/fields.py": "tests/engine/registry/test_sources.py",
    "engine/registry/hosts_toml.py": "tests/engine/registry/test_sources.py",
    "engine/registry/keyring.py": "tests/engine/registry/test_login.py",
    "engine/registry/refusal.py": "tests/engine/registry/test_client.py",
    "engine/registry/registries_conf.py": "tests/engine/registry/test_sources.py",
    "engine/registry/remote.py": "tests/engine/services/test_copying.py",
    "engine/registry/server.py": "tests/engine/registry/test_client.py",
    "engine/registry/servers.py": "tests/engine/registry/test_mirrors.py",
    "engine/registry/source.py": "tests/engine/registry/test_sources.py",
    "engine/registry/upload.py": "tests/engine/registry/test_push.py",
    "engine/runtime/allot.py": "tests/engine/services/test_resources.py",
    "engine/runtime/confine.py": "tests/engine/services/test_confinement.py",
    "engine/runtime/foreign.py": "tests/engine/services/test_mounts.py",
    "engine/runtime/plan_version.py": "tests/engine/runtime/test_plan.py",
    "engine/runtime/reaper.py": "tests/engine/services/test_confinement.py",
    "engine/runtime/seccomp_default.py": "tests/engine/runtime/test_seccomp_profile.py",
    "engine/runtime/seccomp_file.py": "tests/engine/services/test_confinement.py",
    "engine/services/*.py": "tests/contract",
    "engine/storage/copied.py": "tests/engine/storage/test_driver.py",
    "engine/storage/du.py": "tests/engine/storage/test_usage.py",
    "engine/storage/file_bytes.py": "tests/engine/registry/test_push.py",
    "engine/storage/fuse_overlay.py": "tests/engine/storage/test_driver.py",
    "engine/storage/layout.py": "tests/engine/services/test_copying.py",
    "engine/storage/manifest_lists.py": "tests/engine/services/test_manifests.py",
    "engine/storage/layer_check.py": "tests/engine/storage/test_repair.py",
    "engine/storage/merged.py": "tests/engine/storage/test_driver.py",
    "engine/storage/name_list.py": "tests/engine/storage/test_rebuild.py",
    "engine/storage/plain_copy.py": "tests/engine/storage/test_driver.py",
    "engine/storage/reserve.py": "tests/engine/services/test_full_disk.py",
    "engine/storage/repack.py": "tests/engine/registry/test_push.py",
    "engine/storage/restore.py": "tests/engine/storage/test_repair.py",
    "engine/storage/sink.py": "tests/engine/storage/test_archive_writer.py",
    "engine/storage/spool.py": "tests/engine/storage/test_archive.py",
    # What is drawn is held by the pictures in tests/golden/screens.
    "tui/app.py": "tests/tui/test_console.py",
    "tui/dialogs/*.py": "tests/tui/panes",
    "tui/feed.py": "tests/tui/panes",
    "tui/filters.py": "tests/tui/panes",
    "tui/keymap.py": "tests/tui/test_actions.py",
    "tui/opened_image.py": "tests/tui/panes/test_layers.py",
    "tui/panes/*.py": "tests/tui/test_panes.py",
    "tui/prune.py": "tests/tui/panes/test_images.py",
    "tui/shell.py": "tests/e2e/test_console_story.py",
    "tui/transfers.py": "tests/tui/panes/test_images.py",
    "tui/widgets/*.py": "tests/tui/panes",
}


def sources() -> Iterator[str]:
    for package in ("engine", "tui"):
        for path in sorted(ROOT.joinpath(package).rglob("*.py")):
            if path.name != "__init__.py":
                yield path.relative_to(ROOT).as_posix()


def files() -> Iterator[Path]:
    """Every file of the repository that is text."""
    for path in sorted(ROOT.rglob("*")):
        inside = path.relative_to(ROOT)
        if path.is_file() and not _NOT_OURS.intersection(inside.parts) and path.suffix != ".png":
            yield path


def test_every_source_file_has_a_test() -> None:
    untested = []
    for source in sources():
        folder, _, name = source.rpartition("/")
        if not ROOT.joinpath("tests", folder, f"test_{name}").is_file() and not any(
            fnmatchcase(source, pattern) for pattern in ELSEWHERE
        ):
            untested.append(source)
    assert untested == []


def test_list_of_what_is_tested_elsewhere_is_true() -> None:
    for pattern, where in ELSEWHERE.items():
        assert any(fnmatchcase(source, pattern) for source in sources()), pattern
        assert ROOT.joinpath(where).exists(), where


def test_readme_names_what_exists() -> None:
    text = ROOT.joinpath("README.md").read_text()
    wrong = []
    for line in text.splitlines():
        # A line of the map tells of its first path: what follows may be inside.
        within = [ROOT]
        for code, link in re.findall(r"`([\w.-]+/[\w./-]*)`|\]\((?!https?:)([^)#]+)\)", line):
            name = code or link
            if not any(place.joinpath(name).exists() for place in within):
                wrong.append(name)
            within.append(ROOT / name)
    targets = re.findall(r"^([a-z-]+):", ROOT.joinpath("Makefile").read_text(), re.MULTILINE)
    wrong += [f"make {goal}" for goal in re.findall(r"make ([a-z-]+)", text) if goal not in targets]
    assert wrong == []


def test_no_file_names_a_machine() -> None:
    # Where this tree and its Python lie, and what the registries of packages are called.
    here = {str(ROOT), str(Path.home() / ".cache"), sys.base_prefix, sysconfig.get_path("purelib")}
    places = "|".join(re.escape(path) for path in here if path not in ("/", "/usr", "/usr/local"))
    hosts = r"pypi[.]org|pythonhosted[.]org|npmjs[.]|crates[.]io|(?:deb|ftp)[.]debian[.]org"
    wanted = re.compile(rf"(?<![\w.])(?:{places})(?![\w-])|[.]pyenv|{hosts}|archive[.]ubuntu[.]com")
    found = []
    for path in files():
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
            if wanted.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert found == []
