"""The process hook of ExaBGP: `python -I bridge.py SOCKETDIR`, between its stdin/stdout and the agent's unix socket.

Standard library only, and nothing of Leyline: it is what stays when the agent is restarted or upgraded.

One thread only reads ExaBGP, so ExaBGP never blocks, with an agent, with a slow one, or with none. One
thread only writes to it. The main thread serves SOCKETDIR/bridge.sock (0700 directory; the other end must be
of our uid or root): one agent at a time, a new one replaces the old.

Towards the agent go lines of JSON: first `{"type":"hello",...}`, then what ExaBGP says, unchanged; to the
first agent also what it has said before. When
more than QUEUE_OCTETS wait for an agent that does not read, all of it is dropped, `{"type":"overflow"}` takes
its place, and the agent has to ask every peer again (ROUTE-REFRESH). At hello and after an overflow the
bridge asks ExaBGP how its sessions stand: `show sessions 0` under our launcher (mode raw), `show neighbor json`
under a stock ExaBGP (mode stock).

From the agent come ExaBGP's API lines, handed on whole and in order. What is not handed on when the
agent goes is dropped; a line once begun is completed. Acknowledgements are not the bridge's affair: under
our launcher each `announce raw ID ...` is answered with its ID; a stock ExaBGP answers `done` or `error`
to one line after the other, and the bridge hands on those that answer a line of this very agent.
"""

import contextlib
import errno
import fcntl
import json
import os
import selectors
import signal
import socket
import struct
import sys
import threading
from collections import deque

SOCKET = "bridge.sock"
PIPE_OCTETS = 1 << 20
LINE_OCTETS = 1 << 20
"""ExaBGP kills a hook that writes a longer line."""
QUEUE_OCTETS = int(os.environ.get("LEYLINE_BRIDGE_QUEUE") or 64 << 20)
COMMAND_OCTETS = 4 << 20
"""Commands that wait for ExaBGP; while there are more, the agent is not read."""
READ_OCTETS = 1 << 20
SEND_OCTETS = 256 << 10
OWN = -1
"""Whose lines, when they are those of the bridge itself."""


class Bridge:
    """All state, guarded by one lock; the threads hold it for queue operations only, never for input or output."""

    def __init__(self, directory: str, source: int, sink: int, mode: str) -> None:
        self.source = source
        self.sink = sink
        self.mode = mode
        self.lock = threading.Lock()
        self.work = threading.Condition(self.lock)
        self.commands: deque[tuple[int, bytes]] = deque()  # (generation, whole lines)
        self.command_octets = 0
        self.events: deque[bytes] = deque()
        self.event_octets = 0
        self.connected = False
        self.question = b"show sessions 0\n" if mode == "raw" else b"show neighbor json\n"
        self.generation = 0  # Counts agents.
        self.owners: deque[int] = deque()  # Mode stock: whose lines ExaBGP has not answered yet.
        self.wake_in, self.wake_out = os.pipe()
        for end in (self.wake_in, self.wake_out):
            os.set_blocking(end, False)
        self.listener = listen(directory)
        self.agent: socket.socket | None = None
        self.sending = memoryview(b"")
        self.received = bytearray()
        self.selector = selectors.DefaultSelector()

    # Reading ExaBGP: one thread -------------------------------------------------------------------------------------

    def read_exabgp(self) -> None:
        """Never waits for anything but ExaBGP. Ends, and with it the process, when ExaBGP is gone."""
        rest: list[bytes] = []
        while True:
            try:
                data = os.read(self.source, READ_OCTETS)
            except InterruptedError:
                continue
            except OSError:
                break
            if not data:
                break
            end = data.rfind(b"\n") + 1
            if not end:
                rest.append(data)
                continue
            rest.append(data[:end])
            self.hand_on(b"".join(rest))
            rest = [data[end:]] if end < len(data) else []
        os._exit(0)

    def hand_on(self, lines: bytes) -> None:
        """Whole lines into the agent's queue. The first agent hears all that was said since we started; else without
        an agent they go nowhere."""
        with self.lock:
            if self.mode != "raw":
                lines = self.without_foreign_answers(lines)
            if not lines or not (self.connected or self.generation == 0):
                return
            if self.event_octets + len(lines) > QUEUE_OCTETS:
                self.events.clear()
                lines = b'{"type":"overflow"}\n'
                self.event_octets = 0
                if self.connected:
                    self.ask()
            self.events.append(lines)
            self.event_octets += len(lines)
            first = len(self.events) == 1
        if first:
            self.wake()

    def without_foreign_answers(self, lines: bytes) -> bytes:
        """Lock held. `done` and `error` to what the bridge or an earlier agent said are not this agent's."""
        kept = []
        for line in lines.splitlines(keepends=True):
            if line in (b"done\n", b"error\n") and self.owners:
                owner = self.owners.popleft()
                if owner != self.generation:
                    continue
            kept.append(line)
        return b"".join(kept)

    # Writing to ExaBGP: one thread ----------------------------------------------------------------------------------

    def write_exabgp(self) -> None:
        while True:
            with self.work:
                while not self.commands:
                    self.work.wait()
                owner, lines = self.commands.popleft()
                self.command_octets -= len(lines)
                relieved = self.command_octets <= COMMAND_OCTETS < self.command_octets + len(lines)
                if self.mode != "raw":
                    self.owners.extend([owner] * lines.count(b"\n"))
            if relieved:
                self.wake()
            view = memoryview(lines)
            while view:
                try:
                    view = view[os.write(self.sink, view) :]
                except InterruptedError:
                    continue
                except OSError:
                    os._exit(0)  # ExaBGP is gone; the reader sees the same.

    def ask(self) -> None:
        """Lock held. Asks ExaBGP how its sessions stand."""
        self.commands.append((OWN, self.question))
        self.command_octets += len(self.question)
        self.work.notify()

    # The agent: the main thread -------------------------------------------------------------------------------------

    def wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self.wake_out, b".")

    def serve(self) -> None:
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(self.wake_in, selectors.EVENT_READ)
        while True:
            for key, events in self.selector.select():
                if key.fileobj is self.listener:
                    self.accept()
                elif key.fileobj == self.wake_in:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self.wake_in, 4096)
                elif key.fileobj is self.agent:
                    if events & selectors.EVENT_READ:
                        self.read_agent()
                    if self.agent is not None and events & selectors.EVENT_WRITE:
                        self.write_agent()
            self.interests()

    def accept(self) -> None:
        try:
            peer, _ = self.listener.accept()
        except OSError:
            return
        pid, uid, _gid = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in (0, os.getuid()):
            complain(f"refused process {pid} of user {uid}: only root and user {os.getuid()} may connect")
            peer.close()
            return
        if self.agent is not None:
            self.drop_agent()
        peer.setblocking(False)
        self.agent = peer
        self.selector.register(peer, selectors.EVENT_READ)
        hello = {
            "type": "hello",
            "mode": self.mode,
            "pid": os.getppid(),
            "version": os.environ.get("LEYLINE_EXABGP_VERSION", ""),
        }
        with self.lock:
            self.connected = True
            self.generation += 1
            line = json.dumps(hello).encode() + b"\n"
            self.events.appendleft(line)
            self.event_octets += len(line)
            self.ask()

    def drop_agent(self) -> None:
        with self.lock:
            self.connected = False
            self.events.clear()
            self.event_octets = 0
            self.commands.clear()
            self.command_octets = 0
        self.sending = memoryview(b"")
        self.received.clear()
        if self.agent is not None:
            with contextlib.suppress(KeyError):
                self.selector.unregister(self.agent)
            self.agent.close()
            self.agent = None

    def read_agent(self) -> None:
        assert self.agent is not None
        try:
            data = self.agent.recv(READ_OCTETS)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.drop_agent()
            return
        self.received += data
        end = self.received.rfind(b"\n") + 1
        if len(self.received) - end > LINE_OCTETS:
            complain(f"the agent's line has more than {LINE_OCTETS} octets; connection closed")
            self.drop_agent()
            return
        if not end:
            return
        lines = bytes(self.received[:end])
        del self.received[:end]
        self.hand_over(lines)

    def hand_over(self, lines: bytes) -> None:
        """Lines from the agent into the queue towards ExaBGP. It would kill us for what is not ASCII or too long."""
        if not lines.isascii() or len(lines) > LINE_OCTETS:
            kept = [line for line in lines.splitlines(keepends=True) if line.isascii() and len(line) <= LINE_OCTETS]
            if b"".join(kept) != lines:
                complain("a line from the agent that is not ASCII or too long was dropped")
        else:
            kept = [lines]
        with self.lock:
            self.commands.extend((self.generation, line) for line in kept)
            self.command_octets += sum(map(len, kept))
            self.work.notify()

    def write_agent(self) -> None:
        assert self.agent is not None
        while True:
            if not self.sending:
                self.sending = memoryview(self.next_events())
                if not self.sending:
                    return
            try:
                sent = self.agent.send(self.sending)
            except BlockingIOError:
                return
            except OSError:
                self.drop_agent()
                return
            self.sending = self.sending[sent:]

    def next_events(self) -> bytes:
        """Some of what waits for the agent, joined, so that many small events are one send."""
        chunks, octets = [], 0
        with self.lock:
            while self.events and octets < SEND_OCTETS:
                chunks.append(self.events.popleft())
                octets += len(chunks[-1])
            self.event_octets -= octets
        return b"".join(chunks)

    def interests(self) -> None:
        """What to wait for on the agent's socket next."""
        if self.agent is None:
            return
        with self.lock:
            events = selectors.EVENT_WRITE if self.sending or self.events else 0
            if self.command_octets <= COMMAND_OCTETS:  # Else the writer wakes us when there are fewer.
                events |= selectors.EVENT_READ
        current = self.selector.get_map().get(self.agent)
        if events == 0:
            if current is not None:
                self.selector.unregister(self.agent)
        elif current is None:
            self.selector.register(self.agent, events)
        elif current.events != events:
            self.selector.modify(self.agent, events)


def listen(directory: str) -> socket.socket:
    """The listening socket in a directory that only we can enter. An old socket in the way is removed."""
    os.umask(0o077)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    found = os.stat(directory)
    if found.st_uid not in (0, os.getuid()):
        raise SystemExit(f"{directory} belongs to user {found.st_uid}, not to {os.getuid()}: choose another directory")
    os.chmod(directory, 0o700)
    path = os.path.join(directory, SOCKET)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(4)
    listener.setblocking(False)
    return listener


def widen(pipe: int) -> None:
    """A pipe of 1 MiB, or of what this user may have; anything else than a pipe stays what it is."""
    for octets in (PIPE_OCTETS, PIPE_OCTETS >> 2):
        try:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, octets)
            return
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EBUSY):
                return


def complain(text: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"leyline bridge: {text}\n")
        sys.stderr.flush()


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise SystemExit("usage: python -I bridge.py SOCKETDIR")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # A terminal's ^C is for ExaBGP; its end of file is for us.
    source, sink = os.dup(0), os.dup(1)
    os.dup2(2, 1)  # A stray print must not become a command.
    widen(source)
    widen(sink)
    mode = "raw" if os.environ.get("LEYLINE_BRIDGE_MODE") == "raw" else "stock"
    bridge = Bridge(arguments[0], source, sink, mode)
    if mode == "stock":  # What a hook before us left half done is forgotten; each line is to be answered.
        os.write(sink, b"reset\nenable-ack\n")
        bridge.owners.append(OWN)
    for target in (bridge.read_exabgp, bridge.write_exabgp):
        threading.Thread(target=target, daemon=True).start()
    bridge.serve()


if __name__ == "__main__":
    main(sys.argv[1:])
