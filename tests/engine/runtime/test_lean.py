"""What a monitor and a container's init import: one careless import costs 5 to 10 ms each start."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
# The interpreter's own (-I -S), ctypes, and what the runtime is made of.
GOLDEN = """
__future__ _collections_abc _ctypes _socket _stat _struct ctypes ctypes._endian engine
engine.errors engine.kernel engine.kernel.capabilities engine.kernel.cgroup
engine.kernel.cgroup_v1 engine.kernel.cgroup_v2 engine.kernel.files engine.kernel.libc
engine.kernel.mount engine.kernel.namespaces engine.kernel.overlay engine.kernel.process
engine.kernel.seccomp engine.kernel.tty engine.runtime engine.runtime.create engine.runtime.exec
engine.runtime.failure engine.runtime.init engine.runtime.plan_version engine.runtime.rootfs
engine.runtime.users errno fcntl gc genericpath os os.path posixpath resource select stat struct
types
"""


def modules(statement: str) -> set[str]:
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {statement}; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-E", "-c", script]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_runtime_of_a_monitor_imports_a_golden_list() -> None:
    loaded = modules("import engine.runtime.create, engine.runtime.exec")
    assert loaded - modules("pass") - set(GOLDEN.split()) == set()
