"""`system boot`, `system halt`, and the systemd unit that calls them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.cli.parser import Command, Flag
from engine.errors import Unavailable

if TYPE_CHECKING:
    from engine.cli.call import Call
    from engine.model.system import Outcome

UNIT_PATH = "/etc/systemd/system/pydock.service"
_SYSTEMD = "/run/systemd/system"  # sd_booted(3)
# The containers live in cgroups of their own: systemd ends them through `halt` alone.
_UNIT = """\
[Unit]
Description=Containers of pydock
Wants=network-online.target
After=network-online.target local-fs.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={program} system boot
ExecStop={program} system halt
TimeoutStopSec=120

[Install]
WantedBy=multi-user.target
"""


def _tell(call: Call, outcomes: Sequence[Outcome]) -> int:
    for each in outcomes:
        if each.error:
            call.output.warn(f"pydock: {each.name}: {each.error}")
        else:
            call.output.line(each.name)
    return int(any(each.error for each in outcomes))


BOOT = Command(
    "system boot",
    "",
    "Start the containers that their restart policies want when the host has booted",
    lambda call: _tell(call, call.engine.system.boot()),
    most=0,
)
HALT = Command(
    "system halt",
    "",
    "Stop all containers because the host goes down",
    lambda call: _tell(call, call.engine.system.halt()),
    most=0,
)


def _install(call: Call) -> int:
    text = _UNIT.format(program=os.path.abspath(sys.argv[0]))
    if call.on("print"):
        call.output.text(text.rstrip("\n"))
        return 0
    try:
        with open(f"{UNIT_PATH}.new", "w") as file:
            file.write(text)
        os.rename(f"{UNIT_PATH}.new", UNIT_PATH)
    except OSError as error:
        raise Unavailable(
            f"{UNIT_PATH}: {error.strerror}",
            "pydock system install-service --print writes it to standard output",
        ) from error
    call.output.line(UNIT_PATH)
    if not os.path.isdir(_SYSTEMD):
        call.output.warn("systemd does not run here: systemctl enable pydock, where it does")
        return 0
    return subprocess.run(["systemctl", "enable", "pydock.service"], check=False).returncode


INSTALL = Command(
    "system install-service",
    "[OPTIONS]",
    "Install a systemd unit that starts containers at boot and stops them at shutdown",
    _install,
    (Flag("print", "Print the unit, and install nothing"),),
    most=0,
)
