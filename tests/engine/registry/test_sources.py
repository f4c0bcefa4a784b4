"""Where the settings of four tools say that a repository is to be asked for."""

import contextlib
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import InvalidInput, Unavailable
from engine.registry.hosts import Hosts
from engine.registry.source import Source, Trust, split_location

HUB = "registry-1.docker.io"


@pytest.fixture
def user(user_home: Path) -> Path:
    return user_home / ".config"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def shown(sources: tuple[Source, ...]) -> list[str]:
    return [
        f"{each.scheme or 'auto'}://{each.name}{each.base}/{each.path}"
        f"{'?' + each.namespace if each.namespace else ''}"
        for each in sources
    ]


def ask(etc: Path, domain: str = "docker.io", path: str = "library/debian") -> list[str]:
    return shown(Hosts(str(etc)).sources(domain, path))


def test_without_settings_it_is_the_registry_itself(etc: Path) -> None:
    assert ask(etc) == [f"auto://{HUB}/v2/library/debian"]
    assert ask(etc, "r.example:5000", "a/b") == ["auto://r.example:5000/v2/a/b"]


def test_own_settings_name_mirrors_by_place(etc: Path, user: Path) -> None:
    write(
        etc / "pydock/config.toml",
        '[registry."docker.io"]\nmirrors = ["https://m1.example", "m2:5000/hub/"]\n'
        "[registry.r]\nmirrors = ['x']\ninsecure = true\n",
    )
    assert ask(etc) == [
        "https://m1.example/v2/library/debian",
        "auto://m2:5000/v2/hub/library/debian",
        f"auto://{HUB}/v2/library/debian",
    ]
    write(user / "pydock/config.toml", "[registry.r]\nmirrors = []\n")
    assert ask(etc, "r", "a") == ["auto://r/v2/a"]
    assert Hosts(str(etc)).is_insecure("r")


HOSTS_TOML = """
server = "https://upstream.example"
[host."https://b.example"]
  capabilities = ["pull"]
  skip_verify = true
  ca = "/other/ca.crt"
[host."http://a.example:5000/v2/proxy/"]
  override_path = true
  ca = ["one.crt", "two.crt"]
  client = [["c.cert", "c.key"], ["d.pem", ""]]
  dial_timeout = "1s"
  [host."http://a.example:5000/v2/proxy/".header]
    Authorization = "Basic s"
    X-Custom = ["1", "2"]
[host."c.example/mirror"]
"""


def test_hosts_toml_has_containerds_words(etc: Path) -> None:
    place = etc / "containerd/certs.d/r.example_5000_"
    write(place / "hosts.toml", HOSTS_TOML)
    hosts = Hosts(str(etc))
    sources = hosts.sources("r.example:5000", "a/b")
    assert shown(sources) == [
        "https://b.example/v2/a/b?r.example:5000",
        "http://a.example:5000/v2/proxy/a/b?r.example:5000",
        "auto://c.example/mirror/v2/a/b?r.example:5000",
        "https://upstream.example/v2/a/b",
    ]
    b, a, c, upstream = sources
    assert (b.resolves, b.pulls) == (False, True)
    assert b.trust == Trust(("/other/ca.crt",), unchecked=True)
    assert hosts.is_insecure("b.example")
    assert not hosts.is_insecure("a.example:5000")
    assert a.trust == Trust(
        (f"{place}/one.crt", f"{place}/two.crt"),
        ((f"{place}/c.cert", f"{place}/c.key"), (f"{place}/d.pem", f"{place}/d.pem")),
    )
    assert a.headers == (("Authorization", "Basic s"), ("X-Custom", "1, 2"))
    assert "Basic s" not in repr(sources)
    assert [each.is_mirror for each in sources] == [True, True, True, False]
    assert (c.resolves, c.pulls, upstream.namespace) == (True, True, "")


def test_hosts_toml_for_all_registries_is_the_last(etc: Path) -> None:
    write(etc / "containerd/certs.d/_default/hosts.toml", '[host."https://all.example"]\n')
    write(etc / "containerd/certs.d/r.example/hosts.toml", 'server = "https://r2.example"\n')
    assert ask(etc, "q.example", "x") == [
        "https://all.example/v2/x?q.example",
        "auto://q.example/v2/x",
    ]
    assert ask(etc, "r.example", "x") == ["https://r2.example/v2/x"]


REGISTRIES_CONF = """
unqualified-search-registries = ["quay.io"]
short-name-mode = "enforcing"

[[registry]]
prefix = "docker.io"
location = "docker.io"
[[registry.mirror]]
location = "mirror.example/hub"
[[registry.mirror]]
location = "localhost:5000"
insecure = true
pull-from-mirror = "digest-only"

[[registry]]
prefix = "docker.io/library"
location = "internal.example:5000/official"
insecure = true
mirror-by-digest-only = true
[[registry.mirror]]
location = "near.example"

[[registry]]
prefix = "*.corp.example"
insecure = true

[[registry]]
location = "bad.example"
blocked = true

[[registry]]
prefix = "good.example/ns"
location = "docker.io/ns"
[[registry.mirror]]
location = "tags.example"
pull-from-mirror = "tag-only"
"""


def test_registries_conf_has_podmans_words(etc: Path) -> None:
    write(etc / "containers/registries.conf", REGISTRIES_CONF)
    hosts = Hosts(str(etc))
    assert shown(hosts.sources("docker.io", "me/app")) == [
        "auto://mirror.example/v2/hub/me/app",
        "auto://localhost:5000/v2/me/app",
        f"auto://{HUB}/v2/me/app",
    ]
    assert [each.resolves for each in hosts.sources("docker.io", "me/app")] == [True, False, True]
    assert hosts.is_insecure("localhost:5000")
    official = hosts.sources("docker.io", "library/debian")  # the longest prefix
    assert shown(official) == [
        "auto://near.example/v2/debian",
        "auto://internal.example:5000/v2/official/debian",
    ]
    assert not official[0].resolves
    assert not hosts.is_insecure("r.corp.example")
    assert shown(hosts.sources("r.corp.example", "x")) == ["auto://r.corp.example/v2/x"]
    assert hosts.is_insecure("r.corp.example")
    assert shown(hosts.sources("corp.example", "x")) == ["auto://corp.example/v2/x"]
    assert shown(hosts.sources("good.example", "nsx/y")) == ["auto://good.example/v2/nsx/y"]
    good = hosts.sources("good.example", "ns/y")
    assert shown(good) == ["auto://tags.example/v2/y", f"auto://{HUB}/v2/ns/y"]
    assert (good[0].resolves, good[0].pulls) == (True, False)
    with pytest.raises(Unavailable, match=r"bad\.example is blocked by .*registries\.conf"):
        hosts.sources("bad.example", "x")


def test_registries_conf_of_a_person_and_its_drop_ins(etc: Path, user: Path) -> None:
    write(etc / "containers/registries.conf", "[[registry]]\nlocation = 'a'\nblocked = true\n")
    place = etc / "containers/registries.conf.d"
    rule = "[[registry]]\nlocation = 'r.example'\n[[registry.mirror]]\nlocation = "
    write(place / "20.conf", f"{rule}'later'\n")
    write(place / "10.conf", f"{rule}'sooner'\n")
    write(place / "notes.txt", "not [ toml")
    with pytest.raises(Unavailable, match="blocked"):
        ask(etc, "a", "x")
    assert ask(etc, "r.example", "x")[0] == "auto://later/v2/x"
    write(user / "containers/registries.conf", "")  # stands for the machine's
    assert ask(etc, "a", "x") == ["auto://a/v2/x"]
    write(user / "containers/registries.conf.d/1.conf", f"{rule}'mine'\n")
    assert ask(etc, "r.example", "x")[0] == "auto://mine/v2/x"


def test_dockers_mirrors_are_docker_hubs(etc: Path) -> None:
    urls = '["https://m.example/", "http://localhost:5000"]'
    write(etc / "docker/daemon.json", f'{{"registry-mirrors": {urls}}}')
    assert ask(etc) == [
        "https://m.example/v2/library/debian",
        "http://localhost:5000/v2/library/debian",
        f"auto://{HUB}/v2/library/debian",
    ]
    assert ask(etc, "r.example", "x") == ["auto://r.example/v2/x"]
    write(etc / "docker/daemon.json", '{"registry-mirrors": ["ftp://x"]}')
    assert ask(etc) == [f"auto://{HUB}/v2/library/debian"]


def test_first_file_that_knows_the_registry_counts(etc: Path) -> None:
    write(etc / "docker/daemon.json", '{"registry-mirrors": ["https://fourth"]}')
    found = [ask(etc)[0]]
    write(
        etc / "containers/registries.conf",
        "[[registry]]\nlocation = 'docker.io'\n[[registry.mirror]]\nlocation = 'third'\n",
    )
    found.append(ask(etc)[0])
    write(etc / "docker/certs.d/docker.io/hosts.toml", '[host."https://second"]\n')
    found.append(ask(etc)[0])
    write(etc / "pydock/config.toml", "[registry.'docker.io']\nmirrors = ['https://first']\n")
    found.append(ask(etc)[0])
    assert [each.partition("://")[2].partition("/")[0] for each in found] == [
        "fourth", "third", "second", "first",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("pydock/config.toml", "[registry.'docker.io']\nmirrors = 7\n"),
        ("pydock/config.toml", "[registry.'docker.io']\nmirrors = ['ftp://x']\n"),
        ("pydock/config.toml", "[registry.'docker.io']\nmirrors = ['https://u:pw@x']\n"),
        ("pydock/config.toml", "registry = [1]\n"),
        ("docker/certs.d/docker.io/hosts.toml", "server = ["),
        ("docker/certs.d/docker.io/hosts.toml", "server = 7"),
        ("docker/certs.d/docker.io/hosts.toml", "host = 7"),
        ("docker/certs.d/docker.io/hosts.toml", "[host.'https://x']\nca = 7"),
        ("docker/certs.d/docker.io/hosts.toml", "[host.'https://x']\nclient = [['a']]"),
        ("docker/certs.d/docker.io/hosts.toml", "[host.'https://x']\nclient = [7]"),
        ("docker/certs.d/docker.io/hosts.toml", "[host.'https://x']\nskip_verify = 'no'"),
        ("docker/certs.d/docker.io/hosts.toml", "[host.'https://x'.header]\nA = \"1\\n2\""),
        ("docker/certs.d/docker.io/hosts.toml", "[host.'https://x'.header]\n'A B' = '1'"),
        ("docker/certs.d/docker.io/hosts.toml", "[host.'file:///x']"),
        ("docker/certs.d/docker.io/hosts.toml", "[host.'https://x?y']"),
        ("containers/registries.conf", "registry = 7"),
        ("containers/registries.conf", "[[registry]]\ninsecure = true"),
        ("containers/registries.conf", "[[registry]]\nlocation = 'https://x'"),
        ("containers/registries.conf", "[[registry]]\nlocation = 'x'\nblocked = 1"),
        ("containers/registries.conf", "[[registry]]\nlocation = 'x'\n[[registry.mirror]]"),
        (
            "containers/registries.conf",
            "[[registry]]\nlocation = 'x'\n[[registry.mirror]]\nlocation = 'y'\n"
            "pull-from-mirror = 'never'",
        ),
    ],
)
def test_broken_settings_are_named(etc: Path, file: str, text: str) -> None:
    write(etc / file, text)
    with pytest.raises(InvalidInput) as caught:
        ask(etc)
    assert str(etc / file) in caught.value.message
    assert "pw" not in caught.value.message


def test_all_of_it_is_described_for_a_person(etc: Path) -> None:
    assert Hosts(str(etc)).describe() == ((), ())
    write(etc / "docker/daemon.json", '{"registry-mirrors": ["https://hub.example/"]}')
    assert Hosts(str(etc)).describe().mirrors == (("docker.io", "https://hub.example"),)
    write(etc / "containers/registries.conf", REGISTRIES_CONF)
    write(
        etc / "pydock/config.toml",
        "[registry.r]\nmirrors = ['https://m.example/hub']\n"
        "[registry.'x:1']\ninsecure = true\n[registry.y]\ninsecure = false\n",
    )
    write(etc / "containerd/certs.d/q_5000_/hosts.toml", "[host.'http://cache:1/v2']\n")
    write(etc / "docker/daemon.json", '{"insecure-registries": ["10.0.0.0/8", "x:1"]}')
    described = Hosts(str(etc)).describe()
    assert described.mirrors == (
        ("r", "https://m.example/hub"),
        ("q:5000", "http://cache:1"),
        ("docker.io", "mirror.example/hub"),
        ("docker.io", "localhost:5000"),
        ("docker.io/library", "near.example"),
        ("good.example/ns", "tags.example"),
    )
    assert described.insecure == (
        "x:1", "internal.example:5000/official", "*.corp.example", "10.0.0.0/8",
    )  # fmt: skip
    # What is for all registries leaves nothing to podman's file.
    write(etc / "containerd/certs.d/_default/hosts.toml", "[host.'https://all.example']\n")
    assert Hosts(str(etc)).describe().mirrors == (
        ("r", "https://m.example/hub"),
        ("*", "https://all.example"),
        ("q:5000", "http://cache:1"),
        ("docker.io", "https://all.example"),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://h:5/a/b/", ("https", "h:5", "a/b")),
        ("h", ("", "h", "")),
        ("http://[::1]:80", ("http", "[::1]:80", "")),
    ],
)
def test_location_is_a_host_with_a_path(text: str, expected: tuple[str, str, str]) -> None:
    assert split_location(text, "here") == expected


TOML = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=12), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["server", "host", "capabilities", "ca", "client", "skip_verify", "header", "override_path",
     "https://m.example", "m:5000/v2", "registry", "mirror", "location", "prefix", "blocked"]
)  # fmt: skip


def dump(value: object) -> str:
    """TOML, inline."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quote(k)} = {dump(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(dump, value)) + "]"
    return quote(value) if isinstance(value, str) else str(value)


def quote(text: str) -> str:
    return '"' + "".join(f"\\U{ord(each):08x}" for each in text) + '"'


DOCUMENTS = st.dictionaries(
    KEYS,
    st.one_of(TOML, st.dictionaries(KEYS, st.dictionaries(KEYS, TOML, max_size=4), max_size=3)),
    max_size=4,
)


def try_settings(directory: Path, document: dict[str, object]) -> None:
    """Read, or refused; never anything else."""
    text = "\n".join(f"{quote(key)} = {dump(value)}" for key, value in document.items())
    try:
        tomllib.loads(text)
    except (ValueError, OverflowError):
        return
    for file in ("docker/certs.d/docker.io/hosts.toml", "containers/registries.conf"):
        write(directory / file, text)
        with contextlib.suppress(InvalidInput, Unavailable):
            for source in Hosts(str(directory)).sources("docker.io", "x"):
                assert source.name
        (directory / file).unlink()


@given(DOCUMENTS)
@settings(max_examples=60, deadline=None)
def test_any_settings_are_read_without_harm(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, object]
) -> None:
    try_settings(tmp_path_factory.getbasetemp() / "any-settings", document)


@pytest.mark.long
@given(DOCUMENTS)
@settings(max_examples=5_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_very_many_settings_are_read_without_harm(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, object]
) -> None:
    try_settings(tmp_path_factory.getbasetemp() / "many-settings", document)
