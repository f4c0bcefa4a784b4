"""The template language against what Go's text/template made of the same templates and data."""

import pytest

from engine.cli.templates import parse
from engine.errors import InvalidInput

DATA = {
    "Id": "abcdef",
    "State": {"Status": "running", "Pid": 12},
    "List": ["a", "b"],
    "Nothing": None,
    "Yes": True,
    "No": False,
    "N": 5,
    "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]},
    "Labels": {"a.b": "<c>", "z": "1"},
    "Empty": [],
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", "plain"),
        ("{{.Id}} {{.State.Status}}", "abcdef running"),
        ("{{json .State}}", '{"Status":"running","Pid":12}'),
        ("{{json .Labels}}", '{"a.b":"<c>","z":"1"}'),
        (
            "{{.List}} {{.State}} {{.Nothing}} {{.Yes}} {{.N}}",
            "[a b] map[Pid:12 Status:running] <no value> true 5",
        ),
        ("{{range .List}}<{{.}}>{{end}}", "<a><b>"),
        ("{{range $i, $v := .List}}{{if $i}},{{end}}{{$v}}{{end}}", "a,b"),
        (
            "{{range $k, $v := .Ports}}{{$k}}={{(index $v 0).HostPort}} {{end}}",
            "80/tcp=8080 ",
        ),
        ('{{(index .Ports "80/tcp")}}', "[map[HostIp:0.0.0.0 HostPort:8080]]"),
        ('{{(index (index .Ports "80/tcp") 0).HostPort}}', "8080"),
        ('{{index .Labels "a.b"}}', "<c>"),
        ('{{index .Labels "none"}}', "<no value>"),
        ("{{with .State}}{{.Status}}{{else}}none{{end}}", "running"),
        ("{{with .Nothing}}x{{else}}none{{end}}", "none"),
        ("{{with $x := .State}}{{$x.Pid}}{{end}}", "12"),
        (
            '{{if and .Yes (eq .State.Status "running")}}up{{else if .No}}down{{else}}?{{end}}',
            "up",
        ),
        ("{{if .No}}up{{else if .Yes}}down{{else}}?{{end}}", "down"),
        ("{{if or .No .Nothing}}a{{else}}b{{end}}", "b"),
        ("{{not .Yes}} {{len .List}} {{len .Id}}", "false 2 6"),
        ('{{join .List ", "}} {{.Id | upper}}', "a, b ABCDEF"),
        ("a  {{- .Id -}}  b", "aabcdefb"),
        ("{{/* note */}}x", "x"),
        ("{{$x := .Id}}{{$x}}-{{$.Id}}", "abcdef-abcdef"),
        ("{{range .Empty}}a{{else}}empty{{end}}", "empty"),
        (r'{{"quo\"ted\n"}}{{`raw\n`}}', 'quo"ted\nraw\\n'),
        ("{{ .Id}} }} {{.N}}", "abcdef }} 5"),
        ("{{slice .Id 0 3}} {{truncate .Id 4}}", "abc abcd"),
        ("{{println .N .Id}}", "5 abcdef\n"),
        ("{{range $k, $v := .Labels}}{{$k}}:{{$v}};{{end}}", "a.b:<c>;z:1;"),
        ('{{split "a,b" ","}}', "[a b]"),
        (
            "{{range $p, $conf := .Ports}}{{$p}} -> "
            "{{range $conf}}{{.HostIp}}:{{.HostPort}}{{end}}{{end}}",
            "80/tcp -> 0.0.0.0:8080",
        ),
        ("{{if not .No}}y{{end}}{{if gt (len .List) 1}}many{{end}}", "ymany"),
        ('{{eq .State.Status "x" "running"}}{{ne .N 5}}', "truefalse"),
    ],
)
def test_templates_say_what_go_says(template: str, text: str) -> None:
    assert parse(template)(DATA) == text


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{.Missing}}", 'no entry for key "Missing"'),
        ("{{.Id.Foo}}", "can't evaluate field Foo"),
        ("{{.Nothing.Foo}}", "nil data"),
        ("{{foo}}", 'function "foo" not defined'),
        ("{{.Id | foo}}", "non executable command in pipeline stage: 'foo'"),
        ("{{.Id", "unclosed action"),
        ('{{"a}}', "unterminated quoted string"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{if .Id}}x", "unexpected EOF"),
        ("{{1 | .Id}}", "non executable command"),
        ("{{index .List 9}}", "index out of range: 9"),
        ("{{}}", "missing value for command"),
        ("{{range .Id}}x{{end}}", "range can't iterate over abcdef"),
        ("{{(.Id}}", "unclosed left paren"),
        ("{{$x}}", 'undefined variable "$x"'),
        ("{{.Id ! }}", "unexpected '!'"),
        ("{{len .N}}", "error calling len"),
        ("{{1x}}", "bad number syntax"),
        ("{{if}}x{{end}}", "missing value"),
        ("{{/* x", "unclosed action"),
        ("{{.Id .N}}", "unexpected 'N' in operand"),
    ],
)
def test_what_is_wrong_is_told(template: str, said: str) -> None:
    with pytest.raises(InvalidInput) as failure:
        parse(template)(DATA)
    assert said in failure.value.message
    assert "\n" not in failure.value.message
