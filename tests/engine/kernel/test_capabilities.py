from pathlib import Path

import pytest

from engine.kernel import capabilities
from tests.support.child import in_child


def sets() -> dict[str, int]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return {line[:6]: int(line[8:], 16) for line in lines if line.startswith("Cap")}


def test_mask_of_dockers_default_set() -> None:
    from engine.runtime.bundle import CAPABILITIES

    assert capabilities.mask(list(CAPABILITIES)) == 0xA80425FB


def test_unknown_name_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        capabilities.mask(["CAP_FLY"])


def test_kernel_knows_no_more_than_the_table() -> None:
    assert capabilities.last_capability() < 64
    assert len(capabilities.NAMES) >= 41


@pytest.mark.root
def test_sets_are_what_was_asked_for() -> None:
    wanted = capabilities.mask(["CAP_CHOWN", "CAP_SETPCAP", "CAP_CHECKPOINT_RESTORE"])

    def change() -> dict[str, int]:
        last = capabilities.last_capability()
        capabilities.limit_bounding(wanted, last)
        capabilities.set_(wanted, wanted, wanted)
        capabilities.set_ambient(1, last)
        assert capabilities.get() == (wanted, wanted, wanted)
        return sets()

    found = in_child(change)
    assert found == {
        "CapInh": wanted,
        "CapPrm": wanted,
        "CapEff": wanted,
        "CapBnd": wanted,
        "CapAmb": 1,
    }
