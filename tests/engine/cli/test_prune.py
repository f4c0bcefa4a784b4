"""`system df`, `system prune`, and that of containers, images, volumes and networks."""

import json

import pytest

from engine.model.container import CreateOptions, MountRequest
from tests.engine.cli.conftest import Pydock
from tests.support.double import Double


@pytest.fixture
def full(double: Double) -> Double:
    """Images of which one is used, a stopped container, a network, volumes, a leftover."""
    double.add_image("app:1", [{"bin/app": 4_000_000}])
    double.add_image("old:1", [{"bin/old": 2_500_000}])
    double.add_container("web", image="app:1")
    double.add_container("done", image="old:1", state="exited")
    double.networks.create("mine")
    double.volumes.create("data")
    double.set_usage("data", 1_500)
    double._system.leftover_bytes = 300
    return double


def test_df_has_dockers_columns_and_rows_for_the_rest(pydock: Pydock, full: Double) -> None:
    full.volumes.measure("data")
    said = pydock("system", "df")
    assert said.code == 0
    assert said.lines == [
        "TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE",
        "Images          2         2         6.5MB     0B (0%)",
        "Containers      2         1         0B        0B",
        "Local Volumes   1         0         1.5kB     1.5kB (100%)",
        "Downloads       0         0         0B        0B",
        "Leftovers       1         0         300B      300B (100%)",
        "Database        1         1         65.54kB   0B (0%)",
    ]
    assert pydock("system", "df", "--format", "{{.Type}}: {{.Size}}").lines[0] == "Images: 6.5MB"
    row = json.loads(pydock("system", "df", "--format", "json").lines[0])
    assert row == {
        "Type": "Images", "TotalCount": "2", "Active": "2", "Size": "6.5MB",
        "Reclaimable": "0B (0%)",
    }  # fmt: skip


def test_df_tells_of_each_when_asked(pydock: Pydock, full: Double) -> None:
    full.images.tag("old:1", "old:2")
    said = pydock("system", "df", "-v")
    assert said.code == 0
    text = said.out
    for title in ("Images space usage:\n\nREPOSITORY", "Containers space usage:\n\nCONTAINER ID",
                  "Local Volumes space usage:\n\nVOLUME NAME   LINKS     SIZE\ndata "):  # fmt: skip
        assert title in text
    rows = [line.split() for line in said.lines if line.startswith("old ")]
    assert [row[1] for row in rows] == ["1", "2"]
    assert rows[0][-4:] == ["2.5MB", "0B", "2.5MB", "1"]
    assert text.endswith("Leftovers usage: 300B\nDatabase usage: 65.54kB\n")
    document = json.loads(pydock("system", "df", "-v", "--format", "json").out)
    assert [row["Tag"] for row in document["Images"]] == ["1", "1", "2"]
    assert document["Volumes"] == [{"Links": "0", "Name": "data", "Size": "0B"}]
    said = pydock("system", "df", "-v", "--format", "{{.Images}}")
    assert said.code == 1
    assert "the verbose and the format options conflict" in said.err


def test_system_prune_says_what_goes_asks_and_does_that(pydock: Pydock, full: Double) -> None:
    said = pydock("system", "prune", "-a", stdin=b"y\n")
    assert said.code == 0
    assert said.out.startswith(
        "WARNING! This will remove:\n"
        "  - all stopped containers\n"
        "  - all networks not used by at least one container\n"
        "  - all images without at least one container associated to them\n"
        "  - partial downloads, and files that nothing leads to\n"
        "\n"
        "  container   done             0B\n"
        "  network     mine             0B\n"
        "  image       old:1            2.5MB\n"
        "  file        trash/0badcafe   300B\n"
        "  Total       4                2.5MB\n"
        "\n"
        "Are you sure you want to continue? [y/N] Deleted Containers:\n"
    )
    assert (
        "Deleted Networks:\nmine\n\nDeleted Images:\nuntagged: old:1\ndeleted: sha256:" in said.out
    )
    assert said.out.endswith("\nTotal reclaimed space: 2.5MB\n")
    assert [row.name for row in full.containers.list(all=True)] == ["web"]
    assert [row.references for row in full.images.list()] == [("app:1",)]
    assert [row.name for row in full.volumes.list()] == ["data"]
    assert pydock("system", "prune") == (0, "Total reclaimed space: 0B\n", "")


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"", b"yes\n"])
def test_any_other_answer_leaves_everything(pydock: Pydock, full: Double, answer: bytes) -> None:
    said = pydock("system", "prune", "-a", "--volumes", stdin=answer)
    assert (said.code, said.err) == (0, "")
    assert said.out.rstrip().endswith("[y/N]")
    assert len(full.containers.list(all=True)) == 2
    assert len(full.images.list()) == 2


def test_system_prune_without_a_question(pydock: Pydock, full: Double) -> None:
    volume = full.volumes.create()
    said = pydock("system", "prune", "-f", "--volumes", "--filter", "label!=keep")
    assert said.code == 0
    assert "WARNING" not in said.out
    assert f"Deleted Volumes:\n{volume}\n" in said.out
    assert "Deleted Images" not in said.out
    assert full._system.leftover_bytes == 300  # a filter cannot choose it
    said = pydock("system", "prune", "--volumes", "--filter", "until=1h")
    assert (said.code, said.out) == (1, "")
    assert 'the "until" filter is not supported with "--volumes"' in said.err


def test_the_filters_are_told(pydock: Pydock, full: Double) -> None:
    said = pydock("system", "prune", "--filter", "label!=keep", stdin=b"n\n")
    assert "\n\n  Items to be pruned will be filtered with:\n  - label!=keep\n\n" in said.out


def test_container_prune_takes_what_does_not_run(pydock: Pydock, full: Double) -> None:
    full.add_container("new", image="app:1", state="created")
    full.add_container("still", image="app:1", state="paused")
    ids = {row.name: row.id for row in full.containers.list(all=True)}
    said = pydock("container", "prune", stdin=b"n\n")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("WARNING! This will remove all stopped containers.\n\n")
    assert {line.strip() for line in said.lines[2:4]} == {"container   new", "container   done"}
    assert said.out.endswith("Are you sure you want to continue? [y/N] ")
    assert len(full.containers.list(all=True)) == 4
    said = pydock("container", "prune", "-f", "--filter", "label=none")
    assert said.out == "Total reclaimed space: 0B\n"
    said = pydock("container", "prune", "--force")
    assert said.lines[0] == "Deleted Containers:"
    assert set(said.lines[1:3]) == {ids["new"], ids["done"]}
    assert said.lines[3:] == ["", "Total reclaimed space: 0B"]
    assert {row.name for row in full.containers.list(all=True)} == {"web", "still"}
    said = pydock("container", "prune", "-f")
    assert (said.code, said.out) == (0, "Total reclaimed space: 0B\n")


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        (("colour=red",), "invalid filter 'colour'"),
        (("until=yesterday",), "yesterday"),
    ],
)
def test_a_bad_filter_of_container_prune_removes_nothing(
    pydock: Pydock, full: Double, filters: tuple[str, ...], said: str
) -> None:
    words = [word for text in filters for word in ("--filter", text)]
    done = pydock("container", "prune", "-f", *words)
    assert (done.code, done.out) == (1, "")
    assert said in done.err.splitlines()[0]
    assert len(full.containers.list(all=True)) == 2


def test_image_prune_takes_names_only_with_all(pydock: Pydock, full: Double) -> None:
    full.containers.remove("done")
    assert pydock("image", "prune", "-f") == (0, "Total reclaimed space: 0B\n", "")
    said = pydock("image", "prune", "--all", stdin=b"Y\n")
    assert said.out.startswith(
        "WARNING! This will remove all images without at least one container associated to them."
        "\n\n  image   old:1     2.5MB\n  Total   1         2.5MB\n\nAre you sure"
    )
    assert "untagged: old:1\ndeleted: sha256:" in said.out
    assert said.out.endswith("\n\nTotal reclaimed space: 2.5MB\n")
    assert pydock("image", "prune", "--filter", "dangling=false", "-f").lines == [
        "Total reclaimed space: 0B"
    ]
    said = pydock("image", "prune", "-f", "--filter", "color=red")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("pydock: invalid filter 'color'\n")


def test_volume_prune_takes_named_ones_only_with_all(pydock: Pydock, full: Double) -> None:
    full.volumes.measure("data")
    full.containers.create(
        CreateOptions("app:1", "user", mounts=(MountRequest("volume", "used", "/x"),))
    )
    anonymous = full.volumes.create()
    said = pydock("volume", "prune", stdin=b"y\n")
    assert said.out.startswith(
        "WARNING! This will remove anonymous local volumes not used by at least one container.\n\n"
        f"  volume   {anonymous[:12]}\n\n"
    )
    assert said.out.endswith(f"Deleted Volumes:\n{anonymous}\n\nTotal reclaimed space: 0B\n")
    said = pydock("volume", "prune", "-a", "-f")
    assert said.out == "Deleted Volumes:\ndata\n\nTotal reclaimed space: 1.5kB\n"
    assert [row.name for row in full.volumes.list()] == ["used"]
    assert pydock("volume", "prune", "-f", "--filter", "all=1").code == 0
    said = pydock("volume", "prune", "-f", "--filter", "until=1h")
    assert (said.code, said.err.splitlines()[0]) == (1, "pydock: invalid filter 'until'")


def test_network_prune_says_no_size(pydock: Pydock, full: Double) -> None:
    said = pydock("network", "prune", stdin=b"y\n")
    assert said.out == (
        "WARNING! This will remove all custom networks not used by at least one container.\n\n"
        "  network   mine\n\n"
        "Are you sure you want to continue? [y/N] Deleted Networks:\nmine\n\n"
    )
    assert pydock("network", "prune", "-f") == (0, "", "")


def test_what_changed_meanwhile_is_told_and_stays(
    pydock: Pydock, full: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    prune = full._system.prune

    def later(preview: object) -> object:
        full.containers.start("done")
        return prune(preview)  # type: ignore[arg-type]

    monkeypatch.setattr(full._system, "prune", later)
    said = pydock("system", "prune", "-a", "-f")
    assert said.code == 0
    assert said.err.splitlines() == [
        "container done stays: cannot remove container done: container is running",
        "image old:1 stays: container done uses it",
    ]
