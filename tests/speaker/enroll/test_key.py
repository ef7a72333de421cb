"""The text of a key: what the controller writes the speaker reads, and of anything else it says what is wrong."""

from __future__ import annotations

import base64
import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.enroll_key import MAX_URL, BadAddress, checked, render
from speaker.enroll.key import MAX_KEY, Key, KeyUnreadable, parse
from tests.docs.pages import blocks

ID, SECRET, FINGERPRINT = "0123456789ab", "S" * 43, "ab" * 32
GOOD = render(ID, SECRET, "https://leyline.example:8642", FINGERPRINT)

letters = st.sampled_from(string.ascii_letters + string.digits)
hosts = st.from_regex(
    r"[a-z][a-z0-9-]{0,20}(\.[a-z]{2,5}){0,3}|10\.1\.2\.[0-9]|\[fd00::[0-9a-f]{1,4}\]", fullmatch=True
)
ports = st.sampled_from(["", ":8642", ":443"])
paths = st.sampled_from(["", "/leyline", "/a/b"])
urls = st.builds("https://{}{}{}".format, hosts, ports, paths)
ids = st.text(string.ascii_lowercase + string.digits, min_size=12, max_size=12)
secrets = st.text(letters, min_size=43, max_size=43)
fingerprints = st.binary(min_size=32, max_size=32).map(bytes.hex)


@given(ids, secrets, urls, fingerprints)
def test_what_is_written_is_read(public: str, secret: str, url: str, fingerprint: str) -> None:
    assert parse(f" {render(public, secret, *checked(url, fingerprint))}\n") == Key(public, secret, url, fingerprint)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8642", "http://[::1]", "http://localhost:1"])
def test_a_controller_on_this_machine_needs_no_certificate(url: str) -> None:
    assert parse(render(ID, SECRET, *checked(url, FINGERPRINT))) == Key(ID, SECRET, url, "")


@given(st.text(max_size=200))
def test_any_text_is_a_key_or_is_refused(text: str) -> None:
    for each in (text, f"leyline-key.{text}", f"leyline-key.1.{text}"):
        with pytest.raises(KeyUnreadable) as refused:
            parse(each)
        assert str(refused.value)


@given(st.integers(0, len(GOOD) - 1), st.sampled_from(string.printable + "\u0130\ud800é"))
def test_one_other_letter_is_seen(place: int, letter: str) -> None:
    changed = GOOD[:place] + letter + GOOD[place + 1 :]
    if changed.strip() == GOOD:
        return
    with pytest.raises(KeyUnreadable) as refused:
        parse(changed)
    assert SECRET not in str(refused.value)


@given(st.integers(0, len(GOOD) - 1))
def test_a_key_that_was_cut_is_seen(length: int) -> None:
    with pytest.raises(KeyUnreadable):
        parse(GOOD[:length])


def sealed(*parts: str) -> str:
    body = ".".join(("leyline-key", *parts))
    return f"{body}.{hashlib.sha256(body.encode()).hexdigest()[:8]}"


def in_base64(url: bytes) -> str:
    return base64.urlsafe_b64encode(url).decode().rstrip("=")


@given(st.text(max_size=60).map(str.encode) | st.binary(max_size=60) | urls.map(str.encode), st.booleans())
def test_a_whole_key_with_any_url_is_safe_or_refused(url: bytes, pinned: bool) -> None:
    text = sealed("1", ID, SECRET, FINGERPRINT if pinned else "", in_base64(url))
    try:
        key = parse(text)
    except KeyUnreadable:
        return
    assert (key.url.startswith("https://") and key.fingerprint == FINGERPRINT) or "://127.0.0.1" in key.url


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no enrolment key"),
        (f"leyline_{ID}_{SECRET}", "no enrolment key"),
        (sealed("2", ID), "upgrade the speaker"),
        (sealed("1", ID), "copy it again"),
        (GOOD + "x", "copy it again"),
        (GOOD + "x" * MAX_KEY, "copy it again, alone"),
        (sealed("1", ID, SECRET, "", in_base64(b"https://leyline.example")), "does not say which certificate"),
        (sealed("1", ID, SECRET, "", in_base64(b"http://10.0.0.1")), "does not say which certificate"),
        (sealed("1", ID, SECRET, FINGERPRINT, in_base64(b"http://10.0.0.1")), "does not say which certificate"),
        (sealed("1", ID, SECRET, FINGERPRINT, in_base64(b"ftp://10.0.0.1")), "does not say which certificate"),
        (sealed("1", ID, SECRET, FINGERPRINT, in_base64(b"https://a@evil.example")), "no controller's URL"),
        (sealed("1", ID, SECRET, FINGERPRINT, in_base64(b"https://\xff")), "cannot be read"),
        (sealed("1", ID, SECRET, FINGERPRINT, in_base64(b"https://[::")), "no controller's URL"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(KeyUnreadable, match=says):
        parse(text)


def test_the_longest_url_fits() -> None:
    url = "https://" + "a" * (MAX_URL - 8)
    assert parse(render(ID, SECRET, *checked(url, FINGERPRINT))).url == url
    with pytest.raises(BadAddress):
        checked(url + "a", FINGERPRINT)


def test_a_key_shows_its_secret_to_nobody_who_prints_it() -> None:
    assert SECRET not in repr(parse(GOOD))


def test_the_form_in_the_page_is_that_of_keys() -> None:
    (block,) = blocks("text", "enrolment.md")
    shown = block.text.strip().split(".")
    assert shown[:2] == GOOD.split(".")[:2]
    assert len(shown) == len(GOOD.split("."))
