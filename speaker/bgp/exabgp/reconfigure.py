"""A changed configuration into a running ExaBGP: checked first, put in place whole, and seen to be in force.

5.0.15 kills its hook over a broken file, and can lose the signal; so nothing is signalled before the file
was read by the very parser, and every session's description says whether it took.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

from speaker.bgp.client import BridgeClient, NotConnected

CHECK_SECONDS = 30.0
SIGNALS = 5
SIGNAL_SECONDS = 2.0
"""After that without the sessions as they should be, the signal is sent again, SIGNALS times at most."""
POLL_SECONDS = 0.1

NEIGHBOR = re.compile(r'^neighbor (\S+) \{\n    description "([^"]*)";$', re.MULTILINE)


class ReconfigureFailed(Exception):
    """The new sessions are not in force. The text says whether the file or the running ExaBGP is at fault."""


async def reconfigure(client: BridgeClient, config: Path, text: str) -> None:
    """Puts `text`, of `config.render`, in force. Sessions whose block did not change stay up.

    Without a running ExaBGP the file alone is put in place: it is what ExaBGP will start with. Writing the
    same text again is harmless. Raises ReconfigureFailed; the file that was there stays unless ExaBGP could
    read the new one.
    """
    candidate = config.with_name(config.name + ".new")
    await asyncio.to_thread(_write, candidate, text)
    wrong = await _check(candidate)
    if wrong:
        candidate.unlink(missing_ok=True)
        raise ReconfigureFailed(f"ExaBGP refuses the sessions of this plan: {wrong}")
    candidate.replace(config)
    if client.hello is not None:
        await _put_in_force(client, dict(NEIGHBOR.findall(text)))


async def in_force(client: BridgeClient, config: Path, text: str) -> bool:
    """Whether `text` is what the file says and what a running ExaBGP does: then there is nothing to reconfigure."""
    try:
        if await asyncio.to_thread(config.read_text, "ascii") != text:
            return False
        return client.hello is None or not await _difference(client, dict(NEIGHBOR.findall(text)))
    except NotConnected:
        return True  # It died meanwhile, and starts with the file that is there.
    except (FileNotFoundError, TimeoutError):
        return False


def _write(file: Path, text: str) -> None:
    """Passwords stand in it: for root only."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as out:
        os.fchmod(descriptor, 0o600)
        out.write(text)
        out.flush()
        os.fsync(descriptor)


async def _check(candidate: Path) -> str:
    """What ExaBGP's own parser has against the file, "" when nothing. In a process of its own: it keeps state."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "speaker.bgp.exabgp.launcher",
        "--check",
        str(candidate),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    try:
        _, said = await asyncio.wait_for(process.communicate(), CHECK_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"checking took more than {CHECK_SECONDS:.0f} s"
    if process.returncode == 0:
        return ""
    return said.decode(errors="replace").strip() or f"exit code {process.returncode}"


async def _put_in_force(client: BridgeClient, wanted: dict[str, str]) -> None:
    missing = "it did not answer"
    for _ in range(SIGNALS):
        hello = client.hello
        if hello is None:
            return  # It died meanwhile, and starts with the file that is there now.
        try:
            os.kill(hello.pid, signal.SIGUSR1)
        except ProcessLookupError:
            return
        deadline = asyncio.get_running_loop().time() + SIGNAL_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(POLL_SECONDS)
            try:
                missing = await _difference(client, wanted)
            except NotConnected:
                return
            except TimeoutError:
                continue
            if not missing:
                return
    raise ReconfigureFailed(f"ExaBGP has not taken the new sessions after {SIGNALS} signals: {missing}")


async def _difference(client: BridgeClient, wanted: dict[str, str]) -> str:
    """In words, what of the configured sessions is not in force; "" when all is."""
    sessions = await client.sessions()
    actual = {session.peer: session.description for session in sessions if not session.leaving}
    leaving = {session.peer for session in sessions if session.leaving}
    wrong = [f"{peer} is not there" for peer in wanted.keys() - actual.keys()]
    wrong += [f"{peer} is still there" for peer in (actual.keys() | leaving) - wanted.keys()]
    wrong += [f"{peer} has its old settings" for peer in wanted.keys() & actual.keys() if wanted[peer] != actual[peer]]
    return ", ".join(sorted(wrong))
