"""Flags as pflag reads them, and docker's words for mistakes (taken from docker 28 itself)."""

import pytest

from engine.cli import parser
from engine.cli.parser import Arguments, Command, Flag
from engine.errors import EngineError, InvalidInput, Unsupported
from engine.units import parse_size

FLAGS = (
    Flag("all", "Show all of them", short="a"),
    Flag("detach", "Run in background", short="d"),
    Flag("env", "Set variables", short="e", kind="list"),
    Flag("filter", "Filter", short="f", kind="filter", read=parser.pair),
    Flag("last", "Show n last", short="n", kind="int", default="-1", read=parser.integer),
    Flag("memory", "Memory limit", short="m", kind="bytes", read=parse_size),
    Flag("name", "Assign a name", kind="string"),
    Flag("secret", "Nobody sees it", hidden=True),
)


def command(**changes: object) -> Command:
    made = Command(
        "try", "[OPTIONS] THING [ARG...]", "Try things", lambda call: 0, FLAGS, "--privileged -P"
    )
    return made._replace(**changes)  # type: ignore[arg-type]


def parse(line: str, **changes: object) -> Arguments:
    return parser.parse(command(**changes), line.split())


@pytest.mark.parametrize(
    ("line", "flags", "words"),
    [
        ("-a x", {"all": True}, ["x"]),
        ("-ad x", {"all": True, "detach": True}, ["x"]),
        ("--all=false x", {"all": False}, ["x"]),
        ("-a=0 x", {"all": False}, ["x"]),
        ("--name web x", {"name": "web"}, ["x"]),
        ("--name=web=1 x", {"name": "web=1"}, ["x"]),
        ("--name= x", {"name": ""}, ["x"]),
        ("-e A=1 -eB=2 -e=C=3 --env D x", {"env": ["A=1", "B=2", "C=3", "D"]}, ["x"]),
        ("-n 3", {"last": 3}, []),
        ("-n-1", {"last": -1}, []),
        ("-an3", {"all": True, "last": 3}, []),
        ("-m 512m", {"memory": 512 << 20}, []),
        ("-f status=exited", {"filter": [("status", "exited")]}, []),
        ("x -a y", {"all": True}, ["x", "y"]),
        ("x -- -a y", {}, ["x", "-a", "y"]),
        ("- x", {}, ["-", "x"]),
        ("--name a --name b", {"name": "b"}, []),
    ],
)
def test_flags_are_read(line: str, flags: dict[str, object], words: list[str]) -> None:
    arguments = parse(line)
    assert (dict(arguments.flags), arguments.words) == (flags, words)


def test_flags_end_at_the_first_word_where_a_command_follows() -> None:
    arguments = parse("-a image ls -d --name x", ordered=True)
    assert dict(arguments.flags) == {"all": True}
    assert arguments.words == ["image", "ls", "-d", "--name", "x"]
    assert parse("-a -- -d x", ordered=True).words == ["-d", "x"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--foo", "unknown flag: --foo"),
        ("--priv", "unknown flag: --priv"),
        ("-aZ", "unknown shorthand flag: 'Z' in -aZ"),
        ("--name", "flag needs an argument: --name"),
        ("-an", "flag needs an argument: 'n' in -an"),
        (
            "-n x",
            'invalid argument "x" for "-n, --last" flag: strconv.ParseInt: parsing "x": '
            "invalid syntax",
        ),
        ("-m 12q", 'invalid argument "12q" for "-m, --memory" flag: invalid suffix: \'q\''),
        (
            "--all=maybe",
            'invalid argument "maybe" for "-a, --all" flag: strconv.ParseBool: parsing "maybe": '
            "invalid syntax",
        ),
        (
            "-f foo",
            'invalid argument "foo" for "-f, --filter" flag: bad format of filter '
            "(expected name=value)",
        ),
    ],
)
def test_mistakes_are_told_in_dockers_words(line: str, said: str) -> None:
    with pytest.raises(InvalidInput) as failure:
        parse(line)
    error = failure.value
    assert (error.message, error.hint, error.exit_code) == (said, "See 'pydock try --help'.", 125)


@pytest.mark.parametrize("line", ["--privileged", "--privileged=true x", "-P", "-aP"])
def test_what_docker_has_and_we_have_not_is_refused(line: str) -> None:
    with pytest.raises(Unsupported, match="not supported by pydock yet") as failure:
        parse(line)
    assert failure.value.exit_code == 125


@pytest.mark.parametrize(
    ("least", "most", "count", "said"),
    [
        (1, None, 0, "'pydock try' requires at least 1 argument"),
        (2, None, 1, "'pydock try' requires at least 2 arguments"),
        (0, 0, 1, "'pydock try' accepts no arguments"),
        (0, 1, 2, "'pydock try' requires at most 1 argument"),
        (2, 2, 1, "'pydock try' requires 2 arguments"),
        (1, 1, 2, "'pydock try' requires 1 argument"),
        (1, 2, 3, "'pydock try' requires at most 2 arguments"),
    ],
)
def test_words_are_counted(least: int, most: int | None, count: int, said: str) -> None:
    with pytest.raises(EngineError) as failure:
        parse(" ".join("x" * count), least=least, most=most)
    assert (failure.value.message, failure.value.exit_code) == (said, 1)


def test_help_needs_no_words() -> None:
    assert parse("--help", least=3).on("help")


def test_help_is_laid_out_as_dockers() -> None:
    assert parser.usage(command(aliases="pydock try, pydock attempt")).splitlines() == [
        "Usage:  pydock try [OPTIONS] THING [ARG...]",
        "",
        "Try things",
        "",
        "Aliases:",
        "  pydock try, pydock attempt",
        "",
        "Options:",
        "  -a, --all             Show all of them",
        "  -d, --detach          Run in background",
        "  -e, --env list        Set variables",
        "  -f, --filter filter   Filter",
        "  -n, --last int        Show n last (default -1)",
        "  -m, --memory bytes    Memory limit",
        "      --name string     Assign a name",
    ]


def test_long_texts_are_wrapped_below_each_other() -> None:
    lines = parser.options([Flag("x", "word " * 30 + "end\nsecond")])
    assert all(len(line) <= 80 for line in lines)
    assert len({len(line) - len(line.lstrip()) for line in lines[1:]}) == 1
    assert lines[-1].strip() == "second"


def test_labels_need_a_name() -> None:
    assert parser.label("a=b=c") == ("a", "b=c")
    assert parser.label("a") == ("a", "")
    with pytest.raises(InvalidInput, match="invalid label '=x': empty name"):
        parser.label("=x")
