"""What this box has forwarded, from the kernel's counters, and how fast of late."""

from __future__ import annotations

from pathlib import Path

IP, IP6 = "net/snmp", "net/snmp6"


def forwarded(proc: Path = Path("/proc")) -> int:
    """Packets forwarded since boot, IPv4 and IPv6 (RFC 4293 ipIfStatsOutForwDatagrams). 0 for what cannot be read."""
    return _ip4(_text(proc / IP)) + _ip6(_text(proc / IP6))


class Rate:
    """Per second, between two calls."""

    def __init__(self) -> None:
        self._before: tuple[float, int] | None = None
        self.per_second = 0.0

    def note(self, now: float, count: int) -> None:
        """`now` in seconds on any clock that does not jump."""
        if self._before is not None and now > self._before[0]:
            # A counter that went back is another boot's, or another namespace's.
            self.per_second = max(0.0, (count - self._before[1]) / (now - self._before[0]))
        self._before = now, count


def _ip4(text: str) -> int:
    """/proc/net/snmp: a line of names, then a line of values, both begin with `Ip:`."""
    lines = [line.split() for line in text.splitlines() if line.startswith("Ip:")]
    if len(lines) != 2:
        return 0
    return int(dict(zip(*lines, strict=False)).get("ForwDatagrams", 0))


def _ip6(text: str) -> int:
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "Ip6OutForwDatagrams":
            return int(value)
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
