"""A private PostgreSQL for one test run: its own cluster, a unix socket, no port, gone afterwards.

Its absence is an error and not a skip: half of the store's promises are about PostgreSQL.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from itertools import count
from pathlib import Path
from types import TracebackType

import psycopg

VERSIONS = Path("/usr/lib/postgresql")
START_SECONDS = 60


class PostgresMissing(RuntimeError):
    pass


def binaries() -> Path:
    """The newest installed version's bin directory."""
    found = sorted(VERSIONS.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise PostgresMissing("no PostgreSQL under /usr/lib/postgresql: apt-get install postgresql")
    return found[-1].parent


class Cluster:
    """`with Cluster() as cluster: url = cluster.new_database()`. `stop` and `start` for tests of absence."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="leyline-postgres-"))
        self.data = self.directory / "data"
        self.log = self.directory / "log"
        self._names = count(1)
        # PostgreSQL refuses to run as root.
        self._as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._as_user:
            shutil.chown(self.directory, "postgres", "postgres")

    def __enter__(self) -> Cluster:
        try:
            self._run(
                "initdb", "-D", self.data, "-U", "leyline", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"
            )
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if (self.data / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.directory)

    def start(self) -> None:
        settings = (
            f"-c listen_addresses= -c unix_socket_directories={self.directory} -c fsync=off -c max_connections=200"
        )
        self._run("pg_ctl", "-D", self.data, "-l", self.log, "-w", "-t", START_SECONDS, "-o", settings, "start")

    def stop(self) -> None:
        """At once, with every connection cut, as when the machine goes."""
        self._run("pg_ctl", "-D", self.data, "-w", "-m", "immediate", "stop")

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"test{next(self._names)}"
        with psycopg.connect(host=str(self.directory), user="leyline", dbname="postgres", autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name}")
        return f"postgresql://leyline@/{name}?host={self.directory}"

    def _run(self, program: str, *arguments: object) -> None:
        command = [*self._as_user, str(binaries() / program), *map(str, arguments)]
        # Not captured through a pipe: the server would inherit it and keep it open.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(command, stdout=output, stderr=output, cwd="/", check=False)
            output.seek(0)
            if done.returncode:
                log = self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""
                raise RuntimeError(f"{program}: {output.read().decode(errors='replace')}\n{log}")
