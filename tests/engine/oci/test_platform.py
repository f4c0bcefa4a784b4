import pytest

from engine.errors import InvalidInput
from engine.oci import platform
from engine.oci.platform import Platform, best, compatible_with, normalise, parse_platform, runs_on

V2 = "cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3"
V3 = f"{V2} abm avx avx2 bmi1 bmi2 f16c fma movbe xsave"
V4 = f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("linux", "x86_64"), "linux/amd64"),
        (("Linux", "AMD64", "v1"), "linux/amd64"),
        (("linux", "i386"), "linux/386"),
        (("linux", "i686"), "linux/386"),
        (("linux", "aarch64"), "linux/arm64"),
        (("linux", "arm64", "v8"), "linux/arm64"),
        (("linux", "arm64", "8"), "linux/arm64"),
        (("linux", "arm64", "v9"), "linux/arm64/v9"),
        (("linux", "armhf"), "linux/arm/v7"),
        (("linux", "armel"), "linux/arm/v6"),
        (("linux", "arm"), "linux/arm/v7"),
        (("linux", "arm", "5"), "linux/arm/v5"),
        (("linux", "armv7l"), "linux/arm/v7"),
        (("linux", "riscv64"), "linux/riscv64"),
    ],
)
def test_platform_has_one_normal_form(given: tuple[str, ...], expected: str) -> None:
    assert str(normalise(*given)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", "linux/amd64"),
        ("arm64", "linux/arm64"),
        ("x86_64", "linux/amd64"),
        ("linux/arm/v7", "linux/arm/v7"),
        ("windows/amd64", "windows/amd64"),
        ("s390x", "linux/s390x"),
    ],
)
def test_platform_is_parsed(text: str, expected: str) -> None:
    assert str(parse_platform(text)) == expected


def test_os_alone_is_this_host() -> None:
    assert parse_platform("linux") == platform.host_platform()


@pytest.mark.parametrize(
    "text", ["", "/", "a/b/c/d", "foo", "linux/", "linux/a b", "linux/amd64\n"]
)
def test_text_that_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="platform"):
        parse_platform(text)


@pytest.mark.parametrize(
    ("flags", "variant"), [("", ""), (V2, "v2"), (V3, "v3"), (V4, "v4"), ("avx2 fma movbe", "")]
)
def test_processor_flags_give_the_level(flags: str, variant: str) -> None:
    assert platform._amd64_variant(frozenset(flags.split())) == variant


@pytest.mark.parametrize(
    ("host", "accepted"),
    [
        ("linux/amd64/v3", ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386"]),
        ("linux/amd64", ["linux/amd64", "linux/386"]),
        ("linux/arm64", ["linux/arm64"]),
        ("linux/arm64/v8.2", ["linux/arm64/v8.2", "linux/arm64/v8.1", "linux/arm64"]),
        (
            "linux/arm64/v9",
            ["linux/arm64/v9", *(f"linux/arm64/v8.{n}" for n in (5, 4, 3, 2, 1)), "linux/arm64"],
        ),
        ("linux/arm/v7", ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm/v6", ["linux/arm/v6", "linux/arm/v5"]),
        ("linux/riscv64", ["linux/riscv64"]),
    ],
)
def test_host_runs_lesser_variants_too(host: str, accepted: list[str]) -> None:
    assert [str(each) for each in runs_on(parse_platform(host))] == accepted


def test_asked_platform_never_becomes_another_architecture() -> None:
    assert compatible_with(parse_platform("linux/amd64")) == (Platform("linux", "amd64"),)


def test_best_variant_wins_and_ties_go_to_the_first() -> None:
    offered = [normalise("linux", "amd64"), normalise("linux", "amd64", "v3")]
    offered.append(normalise("linux", "amd64", "v3"))
    assert best(runs_on(normalise("linux", "amd64", "v4")), offered) == 1
    assert best(runs_on(normalise("linux", "amd64", "v2")), offered) == 0
    assert best(runs_on(normalise("linux", "s390x")), offered) is None


def test_image_that_needs_a_feature_is_not_chosen() -> None:
    special = normalise("linux", "amd64")._replace(features=("special",))
    assert best(runs_on(normalise("linux", "amd64")), [special]) is None
