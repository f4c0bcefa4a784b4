"""What is shipped: the wheel, the three commands of a fresh install, the locked dependencies."""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
_PIN = re.compile(r"([\w.-]+)==(\S+)(?: ; [^-]+)?(?:\s+--hash=sha256:[0-9a-f]{64})+\s*")
COMMANDS = ("pydock-tui", "pydock", "pydock-oci")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network, by the backend that is installed here."""
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", directory]
    built = subprocess.run([*command, ROOT], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (path,) = directory.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a fresh environment, which sees the dependencies of this one."""
    directory = tmp_path_factory.mktemp("fresh")
    venv.create(directory, with_pip=False)
    command = [sys.executable, "-m", "pip", "--python", directory, "install", "-q"]
    done = subprocess.run(
        [*command, "--no-deps", "--no-index", wheel], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (packages,) = directory.glob("lib/python3*/site-packages")
    packages.joinpath("dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return directory / "bin"


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Somewhere else than in the source tree, with nothing of it on the path."""
    environ = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        command, cwd="/", env=environ, capture_output=True, text=True, check=False, timeout=60
    )


def test_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
    source = {
        path.relative_to(ROOT).as_posix()
        for pattern in ("engine/**/*.py", "tui/**/*.py", "themes/*.toml")
        for path in ROOT.glob(pattern)
    }
    assert shipped == source


def test_wheel_names_its_licence_and_its_dependencies(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        metadata = archive.read(name).decode().partition("\n\n")[0]
        assert name.replace("METADATA", "licenses/LICENSE") in archive.namelist()
    assert "License-Expression: Apache-2.0" in metadata
    wanted = {canonicalize_name(each.name) for each in requirements()}
    lines = re.findall(r"^Requires-Dist: ([^;\n]+)(;.*)?$", metadata, re.MULTILINE)
    named = {Requirement(name).name for name, marker in lines if "extra" not in marker}
    assert {canonicalize_name(name) for name in named} == wanted


@pytest.mark.parametrize("name", COMMANDS)
def test_installed_command_shows_its_help(installed: Path, name: str) -> None:
    done = run(installed / name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert name in done.stdout


def test_installed_program_is_the_wheels(installed: Path) -> None:
    script = "import tui.theme as t; print(t.__file__); print(t.load('day', {}).name)"
    done = run(installed / "python", "-c", script)
    assert done.stdout.splitlines()[1:] == ["day"], done
    assert Path(done.stdout.splitlines()[0]).is_relative_to(installed.parent)
    version = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text())["project"]["version"]
    assert version in run(installed / "pydock", "--version").stdout


def requirements(extra: str = "") -> list[Requirement]:
    """What pyproject.toml asks for on this machine."""
    project = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *project["optional-dependencies"].get(extra, [])]
    found = [Requirement(text) for text in named]
    return [each for each in found if not each.marker or each.marker.evaluate()]


@pytest.mark.parametrize(
    ("name", "extra"), [("requirements.lock", ""), ("requirements-dev.lock", "dev")]
)
def test_lock_pins_every_dependency_by_hash(name: str, extra: str) -> None:
    text = ROOT.joinpath(name).read_text().replace("\\\n", " ")
    pins: dict[str, str] = {}
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            match = _PIN.fullmatch(line)
            assert match, f"{line!r} is no pin with hashes"
            pins[canonicalize_name(match[1])] = match[2]
    for each in requirements(extra):
        assert each.specifier.contains(pins[canonicalize_name(each.name)]), each
