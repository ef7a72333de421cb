"""`leyline controller ...`: what is run where the database is. Imports of the extra stand inside the functions."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

DATABASE_HELP = (
    "sqlite:////path/to/file or postgresql://user@host/name. Without it a SQLite file: "
    "/var/lib/leyline/controller.sqlite for root, ~/.local/state/leyline/controller.sqlite for others."
    "  [env: LEYLINE_DATABASE]"
)


def database_option(command: Any) -> Any:
    return click.option("--database", metavar="URL", envvar="LEYLINE_DATABASE", help=DATABASE_HELP)(command)


@contextmanager
def plain_errors() -> Iterator[None]:
    """What the operator can put right is said in one line, without a traceback; exit code 1."""
    from controller.api.settings import BadSettings
    from controller.store.engine import StoreError

    try:
        yield
    except (BadSettings, StoreError) as error:
        raise click.ClickException(str(error)) from None


def url_of(database: str | None) -> str:
    from controller.api.settings import default_database

    return database or default_database()


@click.group("controller")
def controller_group() -> None:
    """Run the controller; migrate its database.

    \b
    Example:
      leyline controller serve
    """


@controller_group.command()
@database_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need TLS.")
@click.option("--port", default=8642, show_default=True, type=click.IntRange(1, 65535))
@click.option("--tls-certificate", type=click.Path(path_type=Path), help="PEM file, with the chain.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="PEM file.")
@click.option("--insecure-behind-proxy", is_flag=True, help="Listen without TLS: a proxy in front of it does that.")
@click.option(
    "--zerotier-url",
    metavar="URL",
    default="",
    envvar="LEYLINE_ZEROTIER_URL",
    help="The ZeroTier controller that keeps the segment.  [env: LEYLINE_ZEROTIER_URL]",
)
@click.option(
    "--zerotier-central",
    is_flag=True,
    envvar="LEYLINE_ZEROTIER_CENTRAL",
    help="ZeroTier Central keeps the segment.  [env: LEYLINE_ZEROTIER_CENTRAL]",
)
@click.option(
    "--zerotier-token-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    envvar="LEYLINE_ZEROTIER_TOKEN_FILE",
    help="authtoken.secret, or an API token of Central.  [env: LEYLINE_ZEROTIER_TOKEN_FILE]",
)
def serve(
    database: str | None,
    host: str,
    port: int,
    tls_certificate: Path | None,
    tls_key: Path | None,
    insecure_behind_proxy: bool,
    zerotier_url: str,
    zerotier_central: bool,
    zerotier_token_file: Path | None,
) -> None:
    """Serve the API until SIGTERM.

    A SQLite database is made and migrated on the way; PostgreSQL needs `leyline controller migrate` first. The
    first start prints an admin token on stdout, once.

    \b
    Example:
      leyline controller serve --database postgresql://leyline@db/leyline \\
          --host 0.0.0.0 --tls-certificate chain.pem --tls-key key.pem
    """
    with plain_errors():
        from controller.api.settings import Settings
        from controller.serve import serve as run

        run(
            Settings(
                url_of(database),
                host=host,
                port=port,
                tls_certificate=tls_certificate,
                tls_key=tls_key,
                insecure_behind_proxy=insecure_behind_proxy,
                zerotier_url=zerotier_url,
                zerotier_central=zerotier_central,
                zerotier_token_file=zerotier_token_file,
            )
        )


@controller_group.command()
@database_option
def migrate(database: str | None) -> None:
    """Bring the database to the schema of this release, in one transaction.

    \b
    Example:
      leyline controller migrate --database postgresql://leyline@db/leyline
    """
    with plain_errors():
        from controller.store.engine import Database
        from controller.store.migrate import migrate as run

        opened = Database(url_of(database))
        try:
            before, after = run(opened)
        finally:
            opened.close()
    shown = opened.url.render_as_string(hide_password=True)
    click.echo(f"{shown}: {'already' if before == after else 'now'} at {after}")


@controller_group.group()
def token() -> None:
    """Make tokens with the database at hand, when there is no token to ask the API with.

    \b
    Example:
      leyline controller token create
    """


@token.command("create")
@database_option
@click.option("--role", type=click.Choice(["viewer", "operator", "admin"]), default="admin", show_default=True)
@click.option("--note", default="", help="What it is for.")
@click.option("--days", type=click.IntRange(1, 3660), help="It expires after so many days; else never.")
def create_token(database: str | None, role: Any, note: str, days: int | None) -> None:
    """Print a new token, and nothing else, on stdout.

    \b
    Example:
      leyline controller token create --role operator --note ci --days 90
    """
    with plain_errors():
        from controller.service import Controller
        from controller.store.engine import Database, require_file
        from controller.store.migrate import require_migrated
        from controller.store.store import Store

        url = url_of(database)
        require_file(url)
        opened = Database(url)
        try:
            require_migrated(opened)
            expires_at = None if days is None else time.time() + days * 86400
            controller = Controller(Store(opened), lambda _moved: None)
            text, _ = controller.issue_token(role, actor="shell", note=note, expires_at=expires_at)
        finally:
            opened.close()
    sys.stdout.write(text + "\n")
