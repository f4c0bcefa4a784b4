from engine.registry.credentials import Credential
from engine.registry.secret import Secret, basic_authorization, quote_foreign


def test_secret_never_shows_itself() -> None:
    secret = Secret("hunter2")
    credential = Credential("u", secret, secret, secret)
    assert "hunter2" not in f"{secret} {secret!r} {credential} {[secret]}"
    assert secret.reveal() == "hunter2"
    assert not Secret("")


def test_basic_authorization_is_utf8() -> None:
    assert basic_authorization("robot$p+x", Secret("a:ü")) == "Basic cm9ib3QkcCt4OmE6w7w="


def test_foreign_words_are_cut_and_cleaned() -> None:
    assert quote_foreign("a\x1b[31m\r\n b\u202e") == '"a [31m b"'
    assert len(quote_foreign("x" * 10_000)) == 302
