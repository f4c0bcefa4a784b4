"""Changes of a config, line by line."""

from typing import Any

import pytest

from engine.errors import InvalidInput
from engine.oci.instructions import apply_change

BASE: dict[str, Any] = {"Env": ["PATH=/bin", "A=1"], "WorkingDir": "/srv", "Cmd": ["sh"]}


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ('CMD ["a", "b c"]', {"Cmd": ["a", "b c"]}),
        ("cmd echo $A", {"Cmd": ["/bin/sh", "-c", "echo $A"]}),
        ("CMD [not json", {"Cmd": ["/bin/sh", "-c", "[not json"]}),
        ('ENTRYPOINT ["/entry"]', {"Entrypoint": ["/entry"]}),
        ("ENV B=2", {"Env": ["PATH=/bin", "A=1", "B=2"]}),
        ("ENV A=2 C='x y' D=\"$A z\"", {"Env": ["PATH=/bin", "A=2", "C=x y", "D=1 z"]}),
        ("ENV PATH=$PATH:/sbin", {"Env": ["PATH=/bin:/sbin", "A=1"]}),
        ("ENV B two words", {"Env": ["PATH=/bin", "A=1", "B=two words"]}),
        ("ENV B='$A' C=\\$A", {"Env": ["PATH=/bin", "A=1", "B=$A", "C=$A"]}),
        ("ENV B=${A}x C=${N:-no} D=${A:+yes} E=${N:+yes}",
         {"Env": ["PATH=/bin", "A=1", "B=1x", "C=no", "D=yes", "E="]}),
        ("ENV B=a\\ b", {"Env": ["PATH=/bin", "A=1", "B=a b"]}),
        ("LABEL a=1 \"b c\"='d e'", {"Labels": {"a": "1", "b c": "d e"}}),
        ("EXPOSE 80 443/udp 8000-8001", {
            "ExposedPorts": {"80/tcp": {}, "443/udp": {}, "8000/tcp": {}, "8001/tcp": {}}
        }),
        ("VOLUME /a /b", {"Volumes": {"/a": {}, "/b": {}}}),
        ('VOLUME ["/a b"]', {"Volumes": {"/a b": {}}}),
        ("USER 1000:1000", {"User": "1000:1000"}),
        ("WORKDIR app", {"WorkingDir": "/srv/app"}),
        ("WORKDIR /x/../y", {"WorkingDir": "/y"}),
        ("STOPSIGNAL SIGQUIT", {"StopSignal": "SIGQUIT"}),
        ("ONBUILD RUN make", {"OnBuild": ["RUN make"]}),
        ("HEALTHCHECK NONE", {"Healthcheck": {"Test": ["NONE"]}}),
        ("HEALTHCHECK --interval=1m30s --retries=3 CMD curl -f x", {"Healthcheck": {
            "Interval": 90 * 10**9, "Retries": 3, "Test": ["CMD-SHELL", "curl -f x"],
        }}),
        ('HEALTHCHECK CMD ["true"]', {"Healthcheck": {"Test": ["CMD", "true"]}}),
    ],
)  # fmt: skip
def test_a_line_changes_the_config(line: str, changed: dict[str, Any]) -> None:
    config = {
        key: value.copy() if isinstance(value, list) else value for key, value in BASE.items()
    }
    apply_change(config, line)
    assert config == BASE | changed


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("RUN make", "RUN is not a valid change command"),
        ("", "empty line is not a valid change command"),
        ("CMD", "CMD requires at least one argument"),
        ("ENV A", "ENV must have two arguments"),
        ("ENV A=1 B", "can't find = in 'B'"),
        ("ENV =1", "names can not be blank"),
        ("ENV A='x", "looking for matching '"),
        ("ENV A=${B", "missing '}'"),
        ("ENV A=${B:?x}", "unsupported modifier"),
        ("EXPOSE 80a", "invalid containerPort: 80a"),
        ("EXPOSE 70000", "invalid containerPort"),
        ("EXPOSE 9-8", "invalid containerPort"),
        ("USER a b", "exactly one argument"),
        ("STOPSIGNAL a/b", "invalid signal"),
        ("ONBUILD ONBUILD RUN x", "chaining ONBUILD"),
        ("ONBUILD FROM x", "FROM isn't allowed"),
        ("HEALTHCHECK RUN x", "unknown type RUN"),
        ("HEALTHCHECK --interval=x CMD y", "invalid duration"),
        ("HEALTHCHECK --retries=0 CMD y", "at least 1"),
        ("HEALTHCHECK --color=red CMD y", "unknown flag: --color"),
        ('VOLUME [""]', "can not be an empty string"),
    ],
)
def test_a_mistake_is_said(line: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said.replace("(", r"\(")):
        apply_change({}, line)
