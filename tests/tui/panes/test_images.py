"""The images pane: its screens, its keys, its verbs, the pull."""

import os
import stat
import threading
from pathlib import Path
from typing import IO, Any

import pytest

from engine.engine import Cancel, OnProgress
from engine.errors import Cancelled, Unavailable
from engine.model.image import Image, Pushed
from engine.model.progress import Progress
from tests.support.console import (
    PATIENCE_SECONDS,
    comes_true,
    console,
    matches_golden,
    screen,
    shows,
)
from tests.support.scene import Scene
from tests.support.scene_images import API, M, furnished

SIZES = {"80x24": (80, 24), "120x36": (120, 36), "200x50": (200, 50)}
REDIS = "redis:7.4"
REDIS_LAYERS = [{"usr/bin/redis": 40 * M}, {"etc/redis.conf": 2 * M}]


def names(scene: Scene) -> list[str]:
    """Every reference that is here."""
    return sorted(name for row in scene.images.list() for name in row.references)


@pytest.mark.parametrize("size", SIZES)
async def test_screen_is_the_one_that_was_agreed(size: str) -> None:
    async with console(furnished(), SIZES[size], pane="images", ref=API) as pilot:
        await matches_golden(pilot, f"images-{size}")


@pytest.mark.parametrize("size", ["80x24", "200x50"])
async def test_detail_tabs_are_those_that_were_agreed(size: str) -> None:
    async with console(furnished(), SIZES[size], pane="images", ref=API) as pilot:
        for tab in ("Layers", "History", "Config", "Used by"):
            pilot.app.pane.open_tab(tab)
            await matches_golden(pilot, f"images-{tab.lower().replace(' ', '-')}-{size}")
        await pilot.press("d")
        await shows(pilot, '"RepoTags"')


async def test_an_empty_host_says_what_to_do() -> None:
    async with console(Scene(()), pane="images") as pilot:
        await matches_golden(pilot, "images-empty-80x24")


async def test_enter_opens_the_layers() -> None:
    async with console(furnished(), pane="images", ref=API) as pilot:
        await shows(pilot, API)
        await pilot.press("enter")
        await shows(pilot, "3 Layers", f"{API}   326M in 6 layers", "files of layer 1")


async def test_secrets_are_masked_until_somebody_asks() -> None:
    async with console(furnished(), (120, 36), pane="images", ref=API) as pilot:
        await pilot.press("U")
        await shows(pilot, "unmask: only the Config tab hides something")
        pilot.app.pane.open_tab("Config")
        await shows(pilot, "NPM_TOKEN=••••••", "MODE=prod", "the \ufffd[5mshop")
        await pilot.press("U")
        await shows(pilot, "NPM_TOKEN=hunter2")


async def test_tag_asks_for_a_name() -> None:
    scene = furnished()
    async with console(scene, pane="images", ref="mysql:8.4") as pilot:
        await pilot.press("t", *"mine:1", "enter")
        await shows(pilot, "mysql:8.4 is now also mine:1")
        assert "mine:1" in names(scene)


async def test_a_name_that_is_none_is_refused() -> None:
    async with console(furnished(), pane="images", ref="mysql:8.4") as pilot:
        await pilot.press("t", *"NO:::", "enter")
        await shows(pilot, "× tag failed: ")


async def test_remove_names_what_goes_and_what_stays() -> None:
    scene = furnished()
    async with console(scene, pane="images", ref="shop/api:2.9") as pilot:
        await shows(pilot, "shop/api:2.9")
        await pilot.press("delete")
        await matches_golden(pilot, "images-remove-80x24")
        await pilot.press("enter")
        await shows(pilot, "Remove shop/api:2.9?", gone=True)
        assert "shop/api:2.9" in names(scene)
        await pilot.press("ctrl+d", "tab", "enter")
        await shows(pilot, "shop/api:2.9 removed, 0 freed", "Images 6")
        assert "shop/api:2.9" not in names(scene)


async def test_several_marked_images_are_removed_together() -> None:
    scene = furnished()
    async with console(scene, pane="images", ref="mysql:8.4") as pilot:
        await shows(pilot, "mysql:8.4")
        await pilot.press("g", "space", "space", "ctrl+d")
        await shows(pilot, "Remove 2 images?", "at least 930M")
        await pilot.press("y")
        await shows(pilot, "2 images removed, 930M freed", "Images 5")


async def test_the_image_of_a_running_container_is_not_removed() -> None:
    async with console(furnished(), pane="images", ref=API) as pilot:
        await shows(pilot, API)
        await pilot.press("ctrl+d")
        await shows(pilot, f"remove: job-1 runs from {API}")


async def test_pull_is_a_job_that_survives_a_change_of_panes() -> None:
    scene = furnished()
    scene.add_remote(REDIS, REDIS_LAYERS, step_seconds=1)
    async with console(scene, (200, 50), pane="images") as pilot:
        await pilot.press("p", *REDIS, "enter")
        await shows(pilot, "◐ pull redis:7.4", "^x cancels", "── jobs ──", "of 16.0M")
        await pilot.press("1")
        await shows(pilot, "◐ pull ", "last 5 min", "^x cancels")
        scene.add_remote(REDIS, REDIS_LAYERS)  # and now it is quick
        await pilot.press("2")
        await shows(pilot, "redis:7.4 pulled in", "42.0M unpacked", "Images 8")
        await shows(pilot, "◐", gone=True)
        assert REDIS in names(scene)


async def test_a_pull_is_cancelled_by_a_key() -> None:
    scene = furnished()
    scene.add_remote(REDIS, REDIS_LAYERS, step_seconds=5)
    async with console(scene, pane="images") as pilot:
        await pilot.press("p", *REDIS, "enter")
        await shows(pilot, "◐ pull redis:7.4")
        await pilot.press("ctrl+x")
        await shows(pilot, "pull redis:7.4 cancelled")
        assert not pilot.app.jobs.running
        assert REDIS not in names(scene)
        await pilot.press("ctrl+x")
        await shows(pilot, "cancel: nothing is at work")


async def test_a_pull_that_was_stopped_goes_on() -> None:
    scene = furnished()
    scene.add_remote(REDIS, REDIS_LAYERS, step_seconds=5)
    async with console(scene, pane="images") as pilot:
        await pilot.press(":", *"resume", "enter")
        await shows(pilot, "resume: nothing was stopped")
        await pilot.press("p", *REDIS, "enter")
        await shows(pilot, "◐ pull redis:7.4")
        await pilot.press("ctrl+x")
        await shows(pilot, "pull redis:7.4 cancelled; what came is kept   :resume goes on")
        scene.add_remote(REDIS, REDIS_LAYERS)
        await pilot.press(":", *"resume", "enter")
        await shows(pilot, "redis:7.4 pulled in")
        assert not pilot.app.jobs.stopped


async def test_the_console_answers_while_a_pull_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    scene = furnished()

    def pull(ref: str, **how: object) -> None:
        assert threading.current_thread() is not threading.main_thread()
        release.wait(10)
        raise Unavailable("registry: it hung", "try again")

    monkeypatch.setattr(scene.images, "pull", pull)
    async with console(scene, pane="images") as pilot:
        await pilot.press("p", *REDIS, "enter")
        await shows(pilot, "◐ pull redis:7.4")
        await pilot.press("question_mark")
        await shows(pilot, "keys in Images")
        await pilot.press("escape", "5")
        await shows(pilot, "uploads")
        assert pilot.app.jobs.running
        release.set()
        await shows(pilot, "× pull redis:7.4 failed: registry: it hung")


async def test_quitting_ends_a_pull() -> None:
    scene = furnished()
    scene.add_remote(REDIS, REDIS_LAYERS, step_seconds=60)
    async with console(scene, pane="images") as pilot:
        await pilot.press("p", *REDIS, "enter")
        await shows(pilot, "◐ pull redis:7.4")
        job = pilot.app.jobs.running[0]
        await pilot.press("q")
    assert job.cancel.cancelled


async def test_a_pull_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def pull(ref: str, **how: object) -> None:
        raise Unavailable("registry localhost:5000: connection refused", "is it running?")

    scene = furnished()
    monkeypatch.setattr(scene.images, "pull", pull)
    async with console(scene, pane="images") as pilot:
        await pilot.press("p", *REDIS, "enter")
        await shows(pilot, "× pull redis:7.4 failed: registry localhost:5000: connection")


async def test_the_same_pull_is_not_begun_twice() -> None:
    scene = furnished()
    scene.add_remote(REDIS, REDIS_LAYERS, step_seconds=5)
    async with console(scene, pane="images") as pilot:
        await pilot.press("p", *REDIS, "enter")
        await shows(pilot, "◐ pull redis:7.4")
        await pilot.press("p", *REDIS, "enter")
        await shows(pilot, "pull redis:7.4 goes on already")
        assert len(pilot.app.jobs.running) == 1


async def test_push_begins_with_the_name_and_says_what_arrived() -> None:
    scene = furnished()
    async with console(scene, (200, 50), pane="images", ref="mysql:8.4") as pilot:
        await shows(pilot, "mysql:8.4")
        await pilot.press("P")
        await matches_golden(pilot, "images-push-200x50")
        await pilot.press("enter")
        await shows(pilot, "mysql:8.4 pushed in", "digest sha256:")
        assert scene.images.remote_tags("mysql") == ["8.4"]


async def test_push_under_another_name_gives_it_to_the_image() -> None:
    scene = furnished()
    async with console(scene, pane="images", ref="mysql:8.4") as pilot:
        await shows(pilot, "mysql:8.4")
        await pilot.press("P", "ctrl+u", *"localhost:5000/db:1", "enter")
        await shows(pilot, "localhost:5000/db:1 pushed in", "mysql:8.4 +1")
        assert "localhost:5000/db:1" in names(scene)


async def test_push_takes_a_compression_and_all_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = furnished()
    scene.images.tag("mysql:8.4", "mysql:8")
    pushed, push = [], scene.images.push

    def note(name: str, *, compression: str | None, **how: Any) -> Pushed:
        pushed.append((name, compression))
        return push(name, compression=compression, **how)

    monkeypatch.setattr(scene.images, "push", note)
    async with console(scene, pane="images", ref="mysql:8") as pilot:
        await shows(pilot, "mysql:8 +1")
        await pilot.press("P", "tab", "right", "right", "tab", "space")
        await matches_golden(pilot, "images-push-80x24")
        await pilot.press("enter")
        await shows(pilot, "mysql pushed in", ", 2 tags")
        assert pushed == [("mysql:8", "zstd"), ("mysql:8.4", "zstd")]


async def test_push_of_all_tags_says_when_there_is_none() -> None:
    async with console(furnished(), (120, 36), pane="images", ref="mysql:8.4") as pilot:
        await shows(pilot, "mysql:8.4")
        await pilot.press(":", *"push warehouse/db", "enter", "up", "l", "enter")
        await shows(pilot, "× push failed: an image does not exist locally with the tag: wareh")
        await pilot.press("P", "ctrl+u", "enter", "tab", "enter")  # not without a name
        await shows(pilot, "push mysql:8.4", "enter pushes")
        await pilot.press("escape", "P", "ctrl+u", *"NO:::", "enter")
        await shows(pilot, "× push failed: ")


async def test_a_transfer_that_was_cut_is_offered_by_the_next_console() -> None:
    scene = furnished()
    scene.add_remote(REDIS, REDIS_LAYERS, step_seconds=60)
    async with console(scene, pane="images") as pilot:
        await pilot.press("p", *REDIS, "enter")
        await shows(pilot, "◐ pull redis:7.4")
        await pilot.press("q")
    scene = furnished()
    scene.add_remote(REDIS, REDIS_LAYERS)
    async with console(scene, pane="images") as pilot:
        await shows(pilot, "pull redis:7.4 was not finished   :resume goes on")
        await pilot.press(":", *"resume", "enter")
        await shows(pilot, "redis:7.4 pulled in")
    async with console(furnished(), pane="images") as pilot:
        await pilot.press(":", *"resume", "enter")
        await shows(pilot, "resume: nothing was stopped")


async def test_a_push_that_was_stopped_goes_on_as_it_was_asked_for() -> None:
    scene = furnished()
    scene.images.step_seconds = 60
    async with console(scene, pane="images", ref="mysql:8.4") as pilot:
        await shows(pilot, "mysql:8.4")
        await pilot.press("P", "enter")
        await shows(pilot, "◐ push mysql:8.4")
        await pilot.press("ctrl+x")
        await shows(pilot, "push mysql:8.4 cancelled; what arrived is kept   :resume goes on")
    scene = furnished()
    async with console(scene, pane="images") as pilot:
        await shows(pilot, "push mysql:8.4 was not finished")
        await pilot.press(":", *"resume", "enter")
        await shows(pilot, "mysql:8.4 pushed in")
        assert scene.images.remote_tags("mysql") == ["8.4"]


async def test_marked_images_are_saved_in_one_archive_that_loads(tmp_path: Path) -> None:
    scene, path = furnished(), tmp_path / "two.tar"
    async with console(scene, pane="images", ref="busybox:1.36") as pilot:
        await shows(pilot, "busybox:1.36")
        await pilot.press("k", "space", "space", "X", "ctrl+u", *f"save {path}", "enter")
        await shows(pilot, "two.tar written in")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert os.listdir(tmp_path) == ["two.tar"]
        await pilot.press("escape", "L", *str(path), "enter")
        await shows(pilot, "2 images")
        await pilot.press("X", "ctrl+u", *f"save {path}", "enter")
        await shows(pilot, "two.tar failed: ")


async def test_a_file_that_is_not_there_is_said() -> None:
    async with console(furnished(), pane="images") as pilot:
        await pilot.press("L", *"/none/a.tar", "enter")
        await shows(pilot, "× load /none/a.tar failed: /none/a.tar: no such file or directory")
        await pilot.press("X", "ctrl+u", *"save /none/a.tar", "enter")
        await shows(pilot, "× save /none/a.tar failed: /none/a.tar: no such file or directory")


async def test_a_save_that_ends_early_leaves_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def save(refs: list[str], output: IO[bytes], *, progress: OnProgress, cancel: Cancel) -> None:
        output.write(b"half")
        progress(Progress("", "exporting", 4, 8))
        cancel.wait(10)
        raise Cancelled("save: cancelled")

    scene = furnished()
    monkeypatch.setattr(scene.images, "save", save)
    async with console(scene, pane="images") as pilot:
        await shows(pilot, "mysql:8.4")
        await pilot.press("X", "ctrl+u", *f"save {tmp_path}/a.tar", "enter")
        await shows(pilot, "◐ save ", " 50%")
        await pilot.press("ctrl+x")
        await shows(pilot, "cancelled")
        assert os.listdir(tmp_path) == []


async def test_untag_takes_one_name_and_leaves_the_image() -> None:
    scene = furnished()
    scene.images.tag("mysql:8.4", "warehouse/db:blue")
    async with console(scene, pane="images", ref="mysql:8.4") as pilot:
        await shows(pilot, "mysql:8.4 +1")
        await pilot.press("T", "enter")
        await shows(pilot, "warehouse/db:blue is no longer a name of it", "Images 7")
        await pilot.press("T")
        await shows(pilot, "untag: it has no other name: remove takes the last one")
        assert "warehouse/db:blue" not in names(scene)


async def test_the_image_of_a_stopped_container_loses_its_names_only() -> None:
    scene = furnished()
    scene.containers.stop("job-1")
    scene.containers.stop("probe")
    async with console(scene, (120, 36), pane="images", ref=API) as pilot:
        await shows(pilot, API)
        await pilot.press("ctrl+d")
        await shows(pilot, "only untagged: job-1, probe has it", "frees   nothing")
        await pilot.press("y")
        await shows(pilot, f"{API} removed, 0 freed", "<none>")


async def test_a_filter_finds_every_name_of_an_image() -> None:
    scene = furnished()
    scene.images.tag("mysql:8.4", "warehouse/db:blue")
    async with console(scene, pane="images") as pilot:
        await shows(pilot, "mysql:8.4 +1")
        await pilot.press(*"/warehouse", "enter")
        await shows(pilot, "1 of 7", "mysql:8.4 +1")


async def test_prune_names_what_goes_before_it_goes() -> None:
    scene = furnished()
    async with console(scene, pane="images") as pilot:
        await shows(pilot, "mysql:8.4")
        await pilot.press("b")
        await matches_golden(pilot, "images-prune-80x24")
        await pilot.press("a")
        await matches_golden(pilot, "images-prune-all-80x24")
        await pilot.press("enter")
        await shows(pilot, "Prune 5 images?", gone=True)
        assert len(names(scene)) > 5
        await pilot.press("b", "tab", "enter")
        await shows(pilot, "1 image pruned, 40.0M freed", "Images 6")


async def test_with_nothing_to_prune_it_says_so() -> None:
    async with console(Scene(()), pane="images") as pilot:
        await pilot.press("b")
        await shows(pilot, "Nothing to prune: no images that no container has")
        await pilot.press("y")
        await shows(pilot, "Nothing to prune")
        await pilot.press("enter")
        await shows(pilot, "Nothing to prune", gone=True)


async def test_jobs_are_shown_part_by_part_and_ended_one_by_one() -> None:
    scene = furnished()
    scene.add_remote(REDIS, REDIS_LAYERS, step_seconds=1)
    scene.add_remote("node:20", [{"usr/bin/node": 90 * M}], step_seconds=1)
    async with console(scene, pane="images") as pilot:
        await pilot.press("p", *REDIS, "enter", "p", *"node:20", "enter", "J")
        await shows(pilot, "jobs", "◐ pull redis:7.4", "of 16.0M", "◐ pull node:20", "of 36.0M")
        await pilot.press("j", "x")
        await shows(pilot, "pull node:20 ", gone=True)
        await shows(pilot, "◐ pull redis:7.4")
        await pilot.press("escape", "J", "x")
        await shows(pilot, "Nothing is at work.")


async def test_a_pull_that_is_asked_to_wait_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def pull(ref: str, *, progress: OnProgress, cancel: Cancel) -> None:
        progress(Progress("a1b2c3", "downloading", 1 * M, 4 * M))
        progress(Progress("d4e5f6", "retrying", 0, 4 * M, "429, again in 8 s"))
        cancel.wait(10)
        raise Cancelled("pull: cancelled")

    scene = furnished()
    monkeypatch.setattr(scene.images, "pull", pull)
    async with console(scene, (200, 50), pane="images") as pilot:
        await pilot.press("p", *REDIS, "enter")
        await shows(
            pilot, "1.00M of 4.00M", "  12%   429, again in 8 s", "   0%   429, again in 8 s"
        )


async def test_by_repository_every_tag_has_a_row_of_its_own() -> None:
    scene = furnished()
    scene.images.tag("mysql:8.4", "mysql:8")
    scene.images.tag("mysql:8.4", "warehouse/db:blue")
    async with console(scene, (120, 36), pane="images", ref=API) as pilot:
        await shows(pilot, API)
        await pilot.press("a")
        await matches_golden(pilot, "images-by-repository-120x36")
        await pilot.press(*"/warehouse", "enter")
        await shows(pilot, "warehouse/db:blue", "1 of 7")
        await pilot.press("escape", "a")
        await shows(pilot, "mysql:8 +2")


async def test_a_tag_of_several_is_taken_from_its_image_only() -> None:
    scene = furnished()
    scene.images.tag("mysql:8.4", "mysql:8")
    async with console(scene, (120, 36), pane="images", ref="mysql:8") as pilot:
        await shows(pilot, "mysql:8 +1")
        await pilot.press("a", "g", "j", "ctrl+d")
        await shows(
            pilot, "only untagged: it stays as mysql:8.4", "frees   nothing", "tag it again"
        )
        await pilot.press("y")
        await shows(pilot, "mysql:8 removed, 0 freed")
        assert "mysql:8.4" in names(scene)
        assert "mysql:8" not in names(scene)


async def test_an_answer_that_comes_late_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = furnished()
    inspect = scene.images.inspect
    asked, release, answered = (threading.Event() for _ in range(3))

    def late(ref: str) -> Image:
        asked.set()
        release.wait(PATIENCE_SECONDS)
        image = inspect(ref)
        answered.set()
        return image

    async with console(scene, (120, 36), pane="images", ref=API) as pilot:
        await shows(pilot, "node server.js")
        await pilot.press("a", "k")
        await shows(pilot, "▌  shop/api  3 tags")
        await shows(pilot, "node server.js", gone=True)
        monkeypatch.setattr(scene.images, "inspect", late)
        await pilot.press("j")
        await comes_true(pilot, asked.is_set)
        await pilot.press("k")
        await comes_true(pilot, lambda: pilot.app.pane.settled)
        release.set()
        await comes_true(pilot, answered.is_set)
        await pilot.pause(0.1)
        assert "node server.js" not in screen(pilot)


async def test_a_repository_is_removed_with_all_of_its_tags() -> None:
    scene = furnished()
    scene.images.tag("mysql:8.4", "mysql:8")
    async with console(scene, (120, 36), pane="images", ref="mysql:8") as pilot:
        await shows(pilot, "mysql:8 +1")
        await pilot.press("a", "g")
        await shows(pilot, "▌  mysql  2 tags")
        await pilot.press("ctrl+d")
        await shows(pilot, "Remove mysql:8", "also mysql:8.4", "at least 586M")
        await pilot.press("y")
        await shows(pilot, "removed, 586M freed", "Images 6")


async def test_a_verb_for_one_image_says_that_a_repository_is_several() -> None:
    async with console(furnished(), (120, 36), pane="images", ref=API) as pilot:
        await shows(pilot, API)
        await pilot.press("a", "k")
        await shows(pilot, "▌  shop/api  3 tags")
        await pilot.press("t")
        await shows(pilot, "tag: that is a repository: choose one of its tags")
        await pilot.press("ctrl+d")
        await shows(pilot, "remove: job-1 runs from shop/api:3.0")
