from pathlib import Path

import pytest

from engine.runtime.failure import StepError, explain
from engine.runtime.limits import create_cgroup
from tests.support import box


def test_refused_limit_names_the_cgroup_file(root: Path) -> None:
    plan = box.plan_of(root, "true")
    plan["limits"] = (0, 1, 0)
    with pytest.raises(StepError) as caught:
        create_cgroup(plan)
    error = explain(*caught.value.fields)
    assert error.kind == "InvalidInput"
    assert "cpu" in error.message


def test_plan_without_a_cgroup_makes_none(root: Path) -> None:
    plan = box.plan_of(root, "true")
    plan["cgroup"] = None
    assert create_cgroup(plan) is None
