"""From a row to a running process, and back: start, stop, fold, remove, reconcile.

A container's lock (a file below RUN_ROOT/lock) is held by whoever starts, folds or removes it, so
that a fast end never overtakes its own start. Nobody holds it while waiting for an end.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from engine import home as homes
from engine import journal
from engine.errors import Conflict, EngineError, NotFound, Unavailable
from engine.kernel.cgroup import open_cgroup
from engine.kernel.process import is_alive
from engine.model.container import UP
from engine.monitor import client
from engine.services.run import Run, end_state, read_exit, read_state, retire
from engine.storage.trash import remove_tree

if TYPE_CHECKING:
    from engine.engine import Cancel
    from engine.home import Home
    from engine.monitor.client import MonitorSession
    from engine.monitor.launch import Launched
    from engine.monitor.standby import Standby
    from engine.network.networking import Networking
    from engine.services.preparation import Preparation
    from engine.services.restarts import Restarts
    from engine.services.volumes import VolumeService
    from engine.storage.container_store import ContainerRow, ContainerStore
    from engine.storage.network_store import NetworkStore
    from engine.storage.snapshots import Snapshots
    from engine.storage.volume_store import VolumeStore

UNKNOWN_EXIT = 255
_ON = ("running", "paused")
_RESTARTING = "restarting"
_SIGKILL = 9
_ID_DIGITS = 64
_LOOK_SECONDS = 0.005
_KILL_SECONDS = 5.0


class Lifecycle:
    """What happens to one container at a time."""

    def __init__(
        self,
        home: Home,
        store: ContainerStore,
        snapshots: Snapshots,
        volumes: VolumeService,
        volume_store: VolumeStore,
        network_store: NetworkStore,
        networking: Callable[[], Networking],
        standby: Standby | None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._home = home
        self._store = store
        self._snapshots = snapshots
        self._volumes = volumes
        self._volume_store = volume_store
        self._network_store = network_store
        self._networking = networking
        self._standby = standby  # for the first start
        self._warn = warn  # hears what a start has changed on the host

    def close(self) -> None:
        """No monitor waits for a start that did not come."""
        if self._standby is not None:
            self._standby.kill()
            self._standby = None

    def locked(self, container_id: str) -> contextlib.AbstractContextManager[int]:
        """Nobody else starts, folds or removes this container meanwhile."""
        return homes.locked(f"{self._home.run_root}/lock/{container_id}")

    def tell(self, row: ContainerRow, action: str, **attributes: str) -> None:
        """One more line in the journal."""
        journal.append(
            self._home.events_path,
            "container",
            action,
            row.id,
            row.name,
            {"image": row.image, **attributes, **row.config["labels"]},
        )

    # -- start

    def start(
        self,
        row: ContainerRow,
        *,
        size: tuple[int, int] | None = None,
        attach: bool = False,
        stdin: bool = False,
        again: bool = False,
    ) -> MonitorSession | None:
        """It runs when this returns. On failure everything is undone, and the row says why. Its
        lock is held, and no monitor is at work for it. `again` when its policy wants it, no
        person."""
        if row.state == "paused":
            raise Conflict(
                "cannot start a paused container, try unpause instead", f"pydock unpause {row.name}"
            )
        restarts = self._restarts(row)
        if restarts is not None:
            restarts.note_start(row, again=again)
        retire(self._home.run_dir(row.id))
        self._disconnect(row)  # what a killed start may have left
        try:
            launched = self._launch(row, size, attach, stdin)
        except EngineError as error:
            self._disconnect(row)
            self._snapshots.release(row.id)
            if row.auto_remove:
                self.remove(row, volumes=True)
                raise
            self._store.set_state(
                row.id, state="created" if not row.started_ns else "exited",
                exit_code=error.exit_code if error.exit_code > 1 else 128, error=error.message,
            )  # fmt: skip
            raise
        except BaseException:
            self._disconnect(row)
            self._snapshots.release(row.id)
            raise
        self._store.set_state(
            row.id, state="running", pid=launched.pid, started_ns=launched.started_ns,
            finished_ns=0, exit_code=0, error="", oom_killed=False,
        )  # fmt: skip
        self.tell(row, "start")
        if launched.session is not None:
            launched.session.on_clean(lambda code: self._clean(row.id, launched.started_ns))
            launched.session.ends_when(lambda: self.is_over(row.id, launched.started_ns))
        return launched.session

    def _clean(self, container_id: str, started_ns: int) -> None:
        """That run is folded. Whoever held the session may have slept: another has folded it then,
        and what runs now is another run."""
        with self.locked(container_id):
            found = self._store.find(container_id)
            if found is not None and found.started_ns == started_ns:
                self.fold(found)

    def _launch(
        self, row: ContainerRow, size: tuple[int, int] | None, attach: bool, stdin: bool
    ) -> Launched:
        from engine.monitor.launch import launch

        preparation = self._preparation()
        standby, self._standby = self._standby, None
        return launch(
            self._home,
            row.id,
            lambda: preparation.specify(row, size),
            attach=attach,
            stdin=stdin,
            cleans=attach,
            standby=standby,
        )

    def _preparation(self) -> Preparation:
        from engine.services.preparation import Preparation

        return Preparation(
            self._home, self._store, self._snapshots, self._volumes, self._network_store,
            self._networking, self._warn,
        )  # fmt: skip

    def _disconnect(self, row: ContainerRow) -> None:
        """It is in no network any more."""
        if self._network_store.endpoints(container_id=row.id):
            self._networking().disconnect(row.id)

    # -- running

    def stop(
        self, row: ContainerRow, timeout_seconds: int, signal: int = 0, *, by_person: bool = True
    ) -> None:
        """It has ended, and all is folded, when this returns. Without a `signal` by its own."""
        if row.state == "paused":
            open_cgroup(self._home.cgroup_path(row.id)).thaw()
        from engine.services.containers import parse_signal

        if self._hold(row, final=True, by_person=by_person):
            self.tell(row, "stop")
            return
        with Run(self._home, row.id) as run:
            if run.lives:
                run.signal(signal or parse_signal(row.config["stop_signal"]))
                if not run.wait(timeout_seconds):
                    self._kill(row, run)
            run.wait_folded()
        self.settle(row)
        self.tell(row, "stop")

    def kill(self, row: ContainerRow, number: int) -> None:
        """The signal was sent to its first process; KILL also to everything that is left, and this
        returns when all is folded. Raises Conflict when it does not run."""
        from engine.services.containers import parse_signal

        final = number in (_SIGKILL, parse_signal(row.config["stop_signal"]))
        if self._hold(row, final=final):
            self.tell(row, "kill", signal=str(number))
            return
        with Run(self._home, row.id) as run:
            if run.lives and number != _SIGKILL:
                run.signal(number)
                self.tell(row, "kill", signal=str(number))
                return
            lived = run.lives
            if lived:
                self._kill(row, run)
            run.wait_folded()  # it may have just ended by itself
        self.settle(row)
        if not lived:
            raise Conflict(f"container {row.name} is not running", f"pydock start {row.name}")

    def _kill(self, row: ContainerRow, run: Run) -> None:
        run.kill()
        self.tell(row, "kill", signal=str(_SIGKILL))
        if not run.wait(_KILL_SECONDS):
            raise Unavailable(
                f"container {row.name}: did not end within {_KILL_SECONDS:.0f} s of SIGKILL",
                "a process of it hangs in the kernel; see dmesg",
            )

    def wait(self, row: ContainerRow, cancel: Cancel | None) -> None:
        """The run that was on is over, and folded. Raises Cancelled."""
        directory = self._home.run_dir(row.id)
        if client.is_alive(directory):
            client.wait_gone(directory, cancel)
            return
        with Run(self._home, row.id) as run:  # it runs on without its monitor
            if run.lives:
                run.outlive(cancel)

    def is_over(self, container_id: str, started_ns: int) -> bool:
        """Whether that run has ended, and is folded."""
        found = self._store.find(container_id)
        if found is not None and found.started_ns != started_ns:
            return True  # long ago: it was started again
        if client.is_alive(self._home.run_dir(container_id)):
            return False
        settled = None if found is None else self.settle(found)
        return settled is None or settled.state not in _ON

    def attach(self, row: ContainerRow, *, stdin: bool, replay: bool) -> MonitorSession:
        """A session at its own process, whose end is told when it is folded."""
        session = client.attach(self._home.run_dir(row.id), stdin=stdin, replay=replay)
        session.ends_when(lambda: self.is_over(row.id, row.started_ns))
        return session

    def pause(self, row: ContainerRow) -> None:
        """Every process of it stands still."""
        try:
            open_cgroup(self._home.cgroup_path(row.id)).freeze()
        except OSError as error:
            raise Unavailable(
                f"container {row.name}: could not be paused: {error.strerror}", "try again"
            ) from error
        self._store.set_state(row.id, state="paused")
        self.tell(row, "pause")

    def unpause(self, row: ContainerRow) -> None:
        """It goes on."""
        open_cgroup(self._home.cgroup_path(row.id)).thaw()
        self._store.set_state(row.id, state="running")
        self.tell(row, "unpause")

    def rename(self, row: ContainerRow, name: str) -> None:
        """It has this name, also for the others in its network. Its lock is held."""
        self._store.rename(row.id, name)
        endpoints = self._network_store.endpoints(container_id=row.id)
        if endpoints:
            from engine.services.host_files import write_hosts_of

            self._network_store.rename_container(row.id, name)
            for each in endpoints:
                members = self._networking().members(each.network_id)
                write_hosts_of(self._home, self._store, members)
        self.tell(row._replace(name=name), "rename", oldName=row.name)

    def exec(
        self,
        row: ContainerRow,
        command: Sequence[str],
        *,
        tty: bool,
        stdin: bool,
        env: Sequence[str],
        working_directory: str | None,
        user: str | None,
        privileged: bool,
        size: tuple[int, int] | None,
    ) -> MonitorSession:
        """A session at a new process in it, which runs when this returns."""
        from engine.runtime.exec import make_process

        process = make_process(
            self._plan(row),
            list(command),
            env=[*(["TERM=xterm"] if tty else []), *env],
            cwd=working_directory or "",
            user=user,
            privileged=privileged,
            terminal=tty,
            size=size or (0, 0),
        )
        session = client.exec(self._home.run_dir(row.id), process, stdin=stdin)
        self.tell(row, f"exec_start: {' '.join(command)}")
        return session

    def _plan(self, row: ContainerRow) -> dict[str, Any]:
        """The one that it runs by. Raises NotFound."""
        from engine.runtime.plan import make_plan

        try:
            with open(f"{self._home.container_dir(row.id)}/config.json") as file:
                document = json.load(file)
        except FileNotFoundError as error:
            raise NotFound(
                f"container {row.name}: its config.json is gone", "restart it"
            ) from error
        overlay = self._snapshots.get(row.id)
        return make_plan(
            document,
            id=row.id,
            overlay=overlay if overlay.upper else None,
            rootfs=None if overlay.upper else overlay.lower[0],
            user=row.config["user"] or None,
            added_groups=row.config.get("confinement", {}).get("groups", ()),
        )

    # -- end

    def exit_code(self, row: ContainerRow) -> int:
        """Of a container that is gone altogether: what the journal says."""
        from engine import events

        stream = events.subscribe(
            self._home.events_path,
            since_ns=row.started_ns,
            until_ns=time.time_ns(),
            filters=[("container", row.id), ("event", "die")],
        )
        codes = [event.attributes.get("exitCode", "") for event in stream]
        return int(codes[-1]) if codes and codes[-1].isdecimal() else UNKNOWN_EXIT

    def fold(self, row: ContainerRow) -> None:
        """The end is in the row; network and cgroup are gone, with `--rm` everything is. Harmless
        when done before. The container's lock is held by the caller."""
        if row.state not in _ON:
            return
        directory = self._home.run_dir(row.id)
        end = read_exit(directory)
        cgroup = open_cgroup(self._home.cgroup_path(row.id))
        with contextlib.suppress(OSError):
            if cgroup.is_frozen():
                cgroup.thaw()
            cgroup.kill()
        self._disconnect(row)
        self._snapshots.release(row.id)
        with contextlib.suppress(OSError):  # reconcile finds it again
            cgroup.remove()
        code, oom_killed = end.get("exit_code", UNKNOWN_EXIT), end.get("oom_killed", False)
        finished_ns = end.get("finished_ns", time.time_ns())
        restarts = self._restarts(row)
        again = restarts is not None and restarts.is_wanted(row, code, finished_ns)
        self._store.set_state(
            row.id,
            state=_RESTARTING if again else "exited",
            pid=0,
            finished_ns=finished_ns,
            exit_code=code,
            error="" if end else "exit code unknown: its monitor was killed",
            oom_killed=oom_killed,
        )
        if not end:
            self.tell(row, "die", exitCode=str(code))  # the monitor could not
        # After the row, as podman does: who hears it and looks finds the end folded.
        self.tell(row, "cleanup")
        if row.auto_remove:
            self.remove(row, volumes=True)
            return
        end_state(directory)
        if restarts is not None and again:
            restarts.begin(row)

    def _restarts(self, row: ContainerRow) -> Restarts | None:
        """Who knows when it starts again; None when it never does by itself."""
        if "restart" not in row.config:
            return None
        from engine.services.restarts import Restarts

        return Restarts(self._home, self._store)

    def times_restarted(self, row: ContainerRow) -> int:
        """By its policy, since a person started it."""
        restarts = self._restarts(row)
        return 0 if restarts is None else restarts.tally(row.id).times

    def _hold(self, row: ContainerRow, *, final: bool, by_person: bool = True) -> bool:
        """As Restarts.hold, for whatever container."""
        restarts = self._restarts(row)
        if restarts is None:
            return False
        with self.locked(row.id):
            return restarts.hold(row, final=final, by_person=by_person)

    def remove(self, row: ContainerRow, *, volumes: bool) -> None:
        """Row, writable layer, log, run directory: gone. The container's lock is held."""
        anonymous = self._volume_store.anonymous_of(row.id) if volumes else []
        self._disconnect(row)
        with contextlib.suppress(OSError):  # of a start that was killed
            open_cgroup(self._home.cgroup_path(row.id)).remove()
        self._store.remove(row.id)
        self._snapshots.remove(row.id)
        with contextlib.suppress(OSError):
            remove_tree(self._home.container_dir(row.id))
        with contextlib.suppress(OSError):
            remove_tree(self._home.run_dir(row.id))
        for name in anonymous:
            with contextlib.suppress(EngineError):
                self._volumes.remove(name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self._home.run_root}/lock/{row.id}")
        self.tell(row, "destroy")

    # -- what nobody could say

    def settle(self, row: ContainerRow) -> ContainerRow | None:
        """The row as the kernel has it, None when the container is gone: an end that no monitor
        lived to fold is folded, a start whose starter was killed is a start, and one that runs on
        without its monitor has a new one."""
        if not self._is_behind(row):
            return row
        with self.locked(row.id):
            found = self._store.find(row.id)
            return None if found is None else self.settle_locked(found)

    def is_up(self, container_id: str) -> bool:
        """Whether it runs, is paused, or waits to start again."""
        if client.is_alive(self._home.run_dir(container_id)):
            return True
        found = self._store.find(container_id)
        row = None if found is None else self.settle(found)
        return row is not None and row.state in UP

    def settle_locked(self, row: ContainerRow) -> ContainerRow | None:
        """As `settle`. The container's lock is held by the caller."""
        if not self._is_behind(row):
            return row
        restarts = self._restarts(row) if row.state == _RESTARTING else None
        if restarts is not None and self._unrecorded(row) is None:
            restarts.begin(row)
            return row
        was_on = row.state in _ON
        row = row if was_on else self._record_start(row)
        directory = self._home.run_dir(row.id)
        state = read_state(directory)
        if client.is_alive(directory) or (state and is_alive(state["pid"], state["start_time"])):
            if not was_on:
                self.tell(row, "start")
            if not client.is_alive(directory):
                self._adopt(row, state)
            return row
        self.fold(row)
        return self._store.find(row.id)

    def _adopt(self, row: ContainerRow, state: dict[str, Any]) -> None:
        """It has a monitor again, if one can be made: else it runs on, and who looks next tries
        again."""
        from engine.monitor.launch import adopt

        with contextlib.suppress(EngineError):
            spec = self._preparation().respecify(row, self._plan(row))
            adopt(self._home, spec, state["pid"], state["start_time"], state["started_ns"])

    @contextlib.contextmanager
    def at_rest(self, container_id: str) -> Iterator[ContainerRow | None]:
        """The settled row, None when the container is gone. Its lock is held inside the block, and
        it runs or nobody is at work for it: no monitor is about to start it, or to end."""
        while True:
            with self.locked(container_id):
                found = self._store.find(container_id)
                row = None if found is None else self.settle_locked(found)
                directory = self._home.run_dir(container_id)
                if row is None or row.state in _ON or not client.is_alive(directory):
                    yield row
                    return
            time.sleep(_LOOK_SECONDS)  # without the lock, which an exit command needs

    def clean_up(self, container_id: str) -> None:
        """The exit command: what the monitor, whose lock is still held, left to do."""
        with self.locked(container_id):
            row = self._store.find(container_id)
            if row is not None:
                self.fold(row if row.state in _ON else self._record_start(row))

    def _is_behind(self, row: ContainerRow) -> bool:
        directory = self._home.run_dir(row.id)
        if row.state not in _ON:
            return self._unrecorded(row) is not None or self._is_forgotten(row)
        return not client.is_alive(directory)

    def _is_forgotten(self, row: ContainerRow) -> bool:
        """Whether it should start again, and who waited was killed, or the host has booted."""
        restarts = self._restarts(row) if row.state == _RESTARTING else None
        return restarts is not None and not restarts.is_awaited(row.id)

    def _unrecorded(self, row: ContainerRow) -> dict[str, Any] | None:
        """The state of a run that the row does not know of."""
        state = read_state(self._home.run_dir(row.id))
        return state if state and state["started_ns"] > row.started_ns else None

    def _record_start(self, row: ContainerRow) -> ContainerRow:
        """The row, which says now what its starter would have said."""
        state = self._unrecorded(row)
        if state is None:
            return row
        columns: dict[str, Any] = {
            "state": "running", "pid": state["pid"], "started_ns": state["started_ns"],
            "finished_ns": 0, "exit_code": 0, "error": "", "oom_killed": False,
        }  # fmt: skip
        self._store.set_state(row.id, **columns)
        return row._replace(**columns)

    def reconcile(self) -> None:
        """All rows are settled; what killed removals left of run directories and locks is gone."""
        rows = self._store.list_(UP)
        for row in rows:
            self.settle(row)
        settled = {row.id for row in rows}
        ids = self._store.ids()
        for container_id in _entries(f"{self._home.run_root}/containers"):
            directory = self._home.run_dir(container_id)
            if container_id in ids:
                if container_id not in settled and os.path.exists(f"{directory}/state.json"):
                    found = self._store.find(container_id)
                    if found is not None:
                        self.settle(found)
            elif not client.is_alive(directory) and self._store.find(container_id) is None:
                with contextlib.suppress(OSError):
                    remove_tree(directory)
        for container_id in self._snapshots.abandoned(settled):
            with self.at_rest(container_id) as still:
                if still is None or still.state not in _ON:
                    self._snapshots.release(container_id)
        for name in _entries(f"{self._home.run_root}/lock"):
            # Ids are random: a lock that has no container now will never have one.
            if len(name) == _ID_DIGITS and name not in ids and self._store.find(name) is None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{self._home.run_root}/lock/{name}")


def _entries(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
