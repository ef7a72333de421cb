"""Which controller a command talks to, and as whom: flags before environment before stored contexts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import urlsplit

from controller import loopback
from controller.client.config import Config, StoredContext

API = "/api/v1"


class NoTarget(ValueError):
    """Nothing says which controller. The message has the way out."""


@dataclass(frozen=True)
class Target:
    """Which controller, as whom. `origin` says where the URL came from, for messages; `token` may be empty."""

    url: str
    token: str = field(repr=False)
    ca_file: str = ""
    origin: str = "--url"
    context: str = ""  # The stored context that the URL belongs to; empty when there is none.


@dataclass(frozen=True)
class Flags:
    """The connection options of one command; None is not given."""

    url: str | None = None
    token: str | None = field(default=None, repr=False)
    context: str | None = None
    ca_file: str | None = None


def resolve(flags: Flags, environ: Mapping[str, str], load_config: Callable[[], Config]) -> Target:
    """Flag > environment > stored context, where --context is a flag, and so comes before LEYLINE_URL.

    A stored token and CA file are used only for the URL that they were stored with: `--url` of another
    controller must not receive this one's token. The file is read only when it is needed.
    Raises NoTarget and ConfigUnusable.
    """
    config = cache(load_config)
    url, origin = _url(flags, environ, config)
    token = flags.token or (None if flags.context else environ.get("LEYLINE_TOKEN"))
    ca_file = flags.ca_file or (None if flags.context else environ.get("LEYLINE_CACERT"))
    name, stored = "", None
    if not (token and origin in ("--url", "LEYLINE_URL") and flags.context is None):
        name, stored = _stored(flags, environ, config(), url)
    if stored is not None:
        token, ca_file = token or stored.token, ca_file or stored.ca_file
    token = token or environ.get("LEYLINE_TOKEN", "")
    return Target(url, token, ca_file or environ.get("LEYLINE_CACERT", ""), origin, name)


def is_loopback(url: str) -> bool:
    """True when requests to the URL stay on this machine."""
    return loopback.is_loopback(urlsplit(url).hostname or "")


def clean_url(text: str) -> str:
    """The controller's base URL without a trailing slash or /api/v1. Raises NoTarget."""
    text = text.strip()
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment or parts.username or parts.password:
        raise NoTarget(f"{text!r} is no controller URL; it looks like https://leyline.example or http://127.0.0.1:8642")
    return text.rstrip("/").removesuffix(API).rstrip("/")


def _url(flags: Flags, environ: Mapping[str, str], config: Callable[[], Config]) -> tuple[str, str]:
    if flags.url:
        return clean_url(flags.url), "--url"
    if flags.context:
        return clean_url(config().context(flags.context).url), f"--context {flags.context}"
    if environ.get("LEYLINE_URL"):
        return clean_url(environ["LEYLINE_URL"]), "LEYLINE_URL"
    name = environ.get("LEYLINE_CONTEXT") or config().current
    if name:
        return clean_url(config().context(name).url), f"context {name}"
    raise NoTarget("no controller is named: run leyline login, or set LEYLINE_URL and LEYLINE_TOKEN, or give --url")


def _stored(flags: Flags, environ: Mapping[str, str], config: Config, url: str) -> tuple[str, StoredContext | None]:
    """The chosen context, when it is about this URL."""
    name = flags.context or environ.get("LEYLINE_CONTEXT") or config.current
    stored = config.contexts.get(name)
    return (name, stored) if stored is not None and clean_url(stored.url) == url else ("", None)
