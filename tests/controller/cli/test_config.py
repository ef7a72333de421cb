"""Stored contexts, and which of flags, environment and contexts wins."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.client.config import Config, ConfigUnusable, StoredContext, config_path, dump, load, quote, save
from controller.client.target import Flags, NoTarget, clean_url, is_loopback, resolve

PROD = StoredContext("https://prod.example", "prod-token", "/ca/prod.pem")
LAB = StoredContext("http://127.0.0.1:8642", "lab-token")
STORED = Config({"prod": PROD, "lab": LAB}, current="lab")

texts = st.text(st.characters(codec="utf-8"), max_size=40)


@given(st.dictionaries(texts, st.builds(StoredContext, texts.filter(bool), texts, texts), max_size=4), texts)
def test_what_is_written_is_read_back(contexts: dict[str, StoredContext], current: str) -> None:
    document = tomllib.loads(dump(Config(contexts, current)))
    tables = document.get("contexts", {})
    assert document.get("current", "") == current
    assert {name: StoredContext(t["url"], t["token"], t.get("ca_file", "")) for name, t in tables.items()} == contexts


@given(texts)
def test_any_text_can_be_quoted(text: str) -> None:
    assert tomllib.loads(f"value = {quote(text)}") == {"value": text}


def test_saved_whole_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "leyline" / "config.toml"
    save(path, STORED)
    assert load(path) == STORED
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [each.name for each in path.parent.iterdir()] == ["config.toml"]


def test_saving_closes_a_file_that_was_open_to_others(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("")
    path.chmod(0o644)
    save(path, STORED)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_saving_keeps_a_link(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    path = tmp_path / "config.toml"
    path.symlink_to(tmp_path / "dotfiles" / "leyline.toml")
    save(path, STORED)
    assert path.is_symlink()
    assert load(path) == STORED


def test_no_file_is_no_context(tmp_path: Path) -> None:
    assert load(tmp_path / "config.toml") == Config()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigUnusable, match=r"cannot write .*config\.toml.*XDG_CONFIG_HOME"):
        save(tmp_path / "file" / "config.toml", STORED)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("current = ", "config.toml: Invalid value"),
        ("current = 1", "'current' a string"),
        ("contexts = 1", "'contexts' must be a table"),
        ("[contexts.a]\nurl = 1", r"contexts\.a must be a table of strings"),
        ("[contexts.a]\ntoken = 'x'", r"contexts\.a has no url"),
        ("[contexts.a]\nurl = 'http://x'\ncafile = 'x'", "unknown key 'cafile'; known are ca_file, token, url"),
        ("context = 'a'", "the file has an unknown key 'context'"),
    ],
)
def test_a_bad_file_says_what_and_where(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigUnusable, match=said):
        load(path)


def test_tokens_do_not_show_in_tracebacks() -> None:
    assert "prod-token" not in repr(STORED)
    assert "flag-token" not in repr(Flags(token="flag-token"))


def test_where_the_file_is() -> None:
    assert config_path({"XDG_CONFIG_HOME": "/x", "HOME": "/home/a"}) == Path("/x/leyline/config.toml")
    assert config_path({"XDG_CONFIG_HOME": "relative", "HOME": "/home/a"}) == Path(
        "/home/a/.config/leyline/config.toml"
    )


def test_unknown_context_lists_the_known_ones() -> None:
    with pytest.raises(ConfigUnusable, match=r"no context 'x' \(lab, prod\): leyline login --context x"):
        STORED.using("x")


def test_forgetting_the_current_context_leaves_none_current() -> None:
    assert STORED.without("lab") == Config({"prod": PROD}, "")
    assert STORED.without("prod") == Config({"lab": LAB}, "lab")


ENV = {"LEYLINE_URL": "https://env.example", "LEYLINE_TOKEN": "env-token"}


@pytest.mark.parametrize(
    ("flags", "environ", "url", "token", "origin"),
    [
        (Flags(), {}, LAB.url, "lab-token", "context lab"),
        (Flags(), ENV, "https://env.example", "env-token", "LEYLINE_URL"),
        (Flags("https://flag.example", "flag-token"), ENV, "https://flag.example", "flag-token", "--url"),
        (Flags("https://flag.example"), ENV, "https://flag.example", "env-token", "--url"),
        (Flags(token="flag-token"), ENV, "https://env.example", "flag-token", "LEYLINE_URL"),
        (Flags(token="flag-token"), {}, LAB.url, "flag-token", "context lab"),
        (Flags(), {"LEYLINE_CONTEXT": "prod"}, PROD.url, "prod-token", "context prod"),
        (Flags(), {"LEYLINE_CONTEXT": "prod", "LEYLINE_TOKEN": "env-token"}, PROD.url, "env-token", "context prod"),
        (Flags(context="prod"), ENV, PROD.url, "prod-token", "--context prod"),
        (Flags(context="prod"), {"LEYLINE_CONTEXT": "lab"}, PROD.url, "prod-token", "--context prod"),
        (Flags(context="prod", token="flag-token"), ENV, PROD.url, "flag-token", "--context prod"),
        (Flags("https://prod.example/"), {"LEYLINE_CONTEXT": "prod"}, PROD.url, "prod-token", "--url"),
    ],
)
def test_flag_before_environment_before_context(
    flags: Flags, environ: dict[str, str], url: str, token: str, origin: str
) -> None:
    target = resolve(flags, environ, lambda: STORED)
    assert (target.url, target.token, target.origin) == (url, token, origin)


@pytest.mark.parametrize(
    ("flags", "environ"),
    [
        (Flags("https://other.example"), {}),
        (Flags("https://other.example", context="prod"), {}),
        (Flags(), {"LEYLINE_URL": "https://other.example"}),
        (Flags(), {"LEYLINE_URL": "https://other.example", "LEYLINE_CONTEXT": "prod"}),
    ],
)
def test_another_url_does_not_get_the_stored_token(flags: Flags, environ: dict[str, str]) -> None:
    target = resolve(flags, environ, lambda: STORED)
    assert (target.url, target.token, target.ca_file, target.context) == ("https://other.example", "", "", "")


def test_the_stored_ca_goes_with_its_url() -> None:
    assert resolve(Flags(context="prod"), {}, lambda: STORED).ca_file == "/ca/prod.pem"
    assert resolve(Flags(context="prod", ca_file="/f"), {}, lambda: STORED).ca_file == "/f"
    assert resolve(Flags(), {**ENV, "LEYLINE_CACERT": "/e"}, lambda: STORED).ca_file == "/e"


def test_a_broken_file_does_not_matter_when_it_is_not_needed() -> None:
    def broken() -> Config:
        raise ConfigUnusable("broken")

    assert resolve(Flags(), ENV, broken).url == "https://env.example"
    with pytest.raises(ConfigUnusable):
        resolve(Flags(), {}, broken)


def test_nothing_says_which_controller() -> None:
    with pytest.raises(NoTarget, match="run leyline login, or set LEYLINE_URL"):
        resolve(Flags(), {}, Config)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://a.example", "https://a.example"),
        ("https://a.example/", "https://a.example"),
        (" http://[::1]:8642/api/v1/ ", "http://[::1]:8642"),
        ("https://a.example/leyline/", "https://a.example/leyline"),
    ],
)
def test_urls_are_cleaned(text: str, url: str) -> None:
    assert clean_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.example",
        "ftp://a.example",
        "https://",
        "http://[::1",
        "https://u:p@a.example",
        "https://a/?x=1",
        "http://a:x",
    ],
)
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(NoTarget, match=r"it looks like https://leyline\.example"):
        clean_url(text)


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:1", True),
        ("http://[::1]", True),
        ("http://localhost", True),
        ("http://10.0.0.1", False),
        ("http://a", False),
    ],
)
def test_loopback(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback
