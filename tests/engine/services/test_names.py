from engine.services.container_config import check_name
from engine.services.names import random_name


def test_names_are_valid_and_differ() -> None:
    names = {check_name(random_name()) for _ in range(200)}
    assert len(names) > 150
    assert all(name.count("_") == 1 for name in names)


def test_a_second_attempt_carries_a_digit() -> None:
    assert random_name(1)[-1].isdecimal()
