import json
import os

from engine.runtime.bundle import CAPABILITIES, make_config


def test_config_is_json_of_the_specification() -> None:
    config = make_config(args=["true"], labels={"a": "b"})
    assert json.loads(json.dumps(config)) == config
    assert config["ociVersion"].startswith("1.")
    assert config["annotations"] == {"a": "b"}
    assert len(CAPABILITIES) == 14


def test_network_is_new_joined_or_the_hosts() -> None:
    def network(**options: str | None) -> list[dict[str, str]]:
        config = make_config(args=["true"], **options)  # type: ignore[arg-type]
        found: list[dict[str, str]] = config["linux"]["namespaces"]
        return [each for each in found if each["type"] == "network"]

    assert network() == [{"type": "network"}]
    assert network(netns="/run/x") == [{"type": "network", "path": "/run/x"}]
    assert network(netns=None) == []
    assert make_config(args=["true"], netns=None)["linux"]["sysctl"] == {}


def test_limits_are_in_the_units_of_the_specification() -> None:
    config = make_config(args=["true"], memory_bytes=1 << 20, nano_cpus=1_500_000_000, pids=7)
    resources = config["linux"]["resources"]
    assert resources["memory"] == {"limit": 1 << 20, "swap": 2 << 20}
    assert resources["cpu"] == {"period": 100_000, "quota": 150_000}
    assert resources["pids"] == {"limit": 7}


def test_deeper_mounts_come_after_those_above_them() -> None:
    mounts = [("/a", "/data/deep/er", False), ("/b", "/data", True), ("/c", "/etc/hosts", False)]
    config = make_config(args=["true"], mounts=mounts, etc_hosts="/ours")
    targets = [each["destination"] for each in config["mounts"]]
    assert targets.index("/data") < targets.index("/data/deep/er")
    sources = [each["source"] for each in config["mounts"] if each["destination"] == "/etc/hosts"]
    assert sources == ["/c"]  # what is asked for wins over the engine's own


def test_counters_of_the_cpus_are_masked_where_they_are() -> None:
    masked = make_config(args=["true"])["linux"]["maskedPaths"]
    for path in masked:
        assert "thermal_throttle" not in path or os.path.exists(path)
    assert "/proc/kcore" in masked
