"""`top`: the processes of a cgroup, as `ps -ef` shows them."""

from __future__ import annotations

import os
import pwd
import time

from engine.kernel.cgroup import open_cgroup
from engine.model.container import Process


def list_processes(cgroup: str) -> list[Process]:
    """In order of pid, with pids and users of the host, as docker shows them."""
    tick = os.sysconf("SC_CLK_TCK")
    with open("/proc/uptime") as file:
        uptime = float(file.read().split()[0])
    found: list[Process] = []
    for pid in open_cgroup(cgroup).pids():
        try:
            with open(f"/proc/{pid}/stat", errors="replace") as file:
                text = file.read()
            with open(f"/proc/{pid}/cmdline", "rb") as raw:
                words = raw.read().rstrip(b"\0").split(b"\0")
            uid = os.stat(f"/proc/{pid}").st_uid
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        name = text[text.index("(") + 1 : text.rindex(")")]
        fields = text[text.rindex(")") + 2 :].split()
        used = (int(fields[11]) + int(fields[12])) / tick
        age = max(uptime - int(fields[19]) / tick, 0.01)
        now = time.time()
        command = b" ".join(words).decode("utf-8", "replace") or f"[{name}]"
        found.append(
            Process(
                uid=_user(uid),
                pid=pid,
                ppid=int(fields[1]),
                cpu_percent=100 * used / age,
                start_time=_moment(now - age, now),
                tty=_terminal(int(fields[4])),
                cpu_time=time.strftime("%H:%M:%S", time.gmtime(used)),
                command=command,
            )
        )
    return found


def _moment(started: float, now: float) -> str:
    """Hours and minutes, of an earlier day the day, of an earlier year the year: ps(1)'s STIME."""
    then, today = time.localtime(started), time.localtime(now)
    if then.tm_year != today.tm_year:
        return f"{then.tm_year}"
    return time.strftime("%H:%M" if then.tm_yday == today.tm_yday else "%b%d", then)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _terminal(number: int) -> str:
    """tty_nr of proc_pid_stat(5); pts are majors 136 to 143."""
    if not number:
        return "?"
    major, minor = os.major(number), os.minor(number)
    return f"pts/{(major - 136) * 256 + minor}" if 136 <= major <= 143 else "?"
