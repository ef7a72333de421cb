"""Relay labels: a hub pops 16000 + uplink number and sends the packet to that uplink, without an IP look-up.

So a detour works for every tenant, and for prefixes that the hub does not have. Whether the kernel has
MPLS is the operator's business (`modprobe -a mpls_router mpls_iptunnel`): nothing here loads a module.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from ipaddress import ip_address
from pathlib import Path

from speaker.kernel import messages as m
from speaker.kernel import mpls_messages as codec
from speaker.kernel.mpls_messages import LabelRoute
from speaker.kernel.port import Fault, KernelError
from speaker.kernel.socket import LinuxKernel
from speaker.kernel.sysctls import Knob, SysctlOutcome, apply_knobs
from speaker.plan import FIRST_RELAY_LABEL

HIGHEST_LABEL = 2**20 - 2  # The kernel's table has room for 1048575 labels, the first being 0.
TABLE_STEP = 1 << 16  # The table grows by so many labels at a time: 512 KiB each.
MESSAGES_PER_BATCH = 1000
DUMP = 1


def relay_label(number: int) -> int:
    """The label that stands for the uplink with this number, everywhere in the fabric."""
    return FIRST_RELAY_LABEL + number


def unsupported(*, proc: Path = Path("/proc")) -> str:
    """Why this kernel forwards no labels, and the way out; "" when it does."""
    if (proc / "sys/net/mpls/platform_labels").exists():
        return ""
    return "the kernel has no MPLS here: modprobe mpls_router, and name it in /etc/modules-load.d"


def encap_unsupported(*, root: Path = Path("/")) -> str:
    """Why a next hop of this kernel cannot push a label, and the way out; "" when it can."""
    if (root / "sys/module/mpls_iptunnel").exists():
        return ""
    try:
        builtin = (root / "lib/modules" / os.uname().release / "modules.builtin").read_text()
    except OSError:
        builtin = ""
    if "/mpls_iptunnel.ko" in builtin:
        return ""
    return "the kernel cannot push labels: modprobe mpls_iptunnel, and name it in /etc/modules-load.d"


def knobs(uplinks: Sequence[str], labels: Iterable[int]) -> Iterator[Knob]:
    """What a hub needs to forward these labels from and to these interfaces. Pure."""
    highest = min(max(labels, default=FIRST_RELAY_LABEL), HIGHEST_LABEL)
    room = min((highest // TABLE_STEP + 1) * TABLE_STEP, HIGHEST_LABEL + 1)
    yield Knob("net.mpls.platform_labels", room, at_least=True)
    for name in uplinks:
        yield Knob(f"net.mpls.conf.{name.replace('.', '/')}.input", 1)


def apply_mpls_sysctls(uplinks: Sequence[str], labels: Iterable[int], *, proc: Path = Path("/proc")) -> SysctlOutcome:
    """Set what differs, like `apply_sysctls`: before new labels go in, and again when an uplink returns."""
    return apply_knobs(knobs(uplinks, labels), proc)


class LabelTable:
    """The labels of this network namespace that are ours (protocol 76). Others are never touched.

    Holds nothing: every call reads the kernel, so what a former process left is taken over, and what is
    right stays as it is.
    """

    def apply(self, desired: Mapping[int, tuple[str, str]], *, may_remove: bool = True) -> list[str]:
        """Bring the kernel to `desired`, label -> (interface, overlay address). Blocks; run it in a thread.

        New and changed labels go in before others go out, which only happens if it `may_remove`. Returns what
        failed, one line a label: the rest is in. Call again after an interface returned: Linux dropped its labels
        with it.
        """
        wanted: dict[int, LabelRoute] = {}
        errors: list[str] = []
        for label, (device, address) in desired.items():
            try:
                wanted[label] = _resolve(label, device, address)
            except ValueError as error:
                errors.append(f"label {label}: {error}")
        try:
            with closing(_MplsKernel()) as kernel:
                actual = kernel.labels()
                # What cannot be said now is no reason to take away what stands.
                keep = desired.keys() - wanted.keys() if may_remove else {route.label for route in actual}
                for request in changes(actual, wanted, keep):
                    errors += [_told(fault) for fault in kernel.submit(request)]
        except KernelError as error:
            errors.append(str(error))
        return errors

    def forwarded(self, desired: Mapping[int, tuple[str, str]]) -> frozenset[int]:
        """The labels of `desired` that stand in the kernel as desired. Blocks. Raises KernelError."""
        found = set()
        standing = set(self.labels())
        for label, (device, address) in desired.items():
            with suppress(ValueError):
                if _resolve(label, device, address) in standing:
                    found.add(label)
        return frozenset(found)

    def labels(self) -> list[LabelRoute]:
        """Our labels in the kernel now. Blocks. Raises KernelError."""
        with closing(_MplsKernel()) as kernel:
            return kernel.labels()


def changes(actual: Iterable[LabelRoute], desired: Mapping[int, LabelRoute], keep: Iterable[int] = ()) -> list[bytes]:
    """Batches of requests that turn our `actual` labels into `desired`; those of `keep` are left alone. Pure."""
    standing = {route.label: route for route in actual}
    requests = [
        codec.put(route, m.REPLACE if label in standing else m.CREATE)
        for label, route in sorted(desired.items())
        if standing.get(label) != route
    ]
    requests += [codec.delete(label) for label in sorted(standing.keys() - desired.keys() - set(keep))]
    return [b"".join(requests[at : at + MESSAGES_PER_BATCH]) for at in range(0, len(requests), MESSAGES_PER_BATCH)]


class _MplsKernel(LinuxKernel):
    """The socket with one dump more."""

    def labels(self) -> list[LabelRoute]:
        """Raises KernelError; a kernel without MPLS has none."""
        if unsupported():
            raise KernelError(errno.EAFNOSUPPORT, unsupported())
        # This socket asks for nothing else, so any number will do.
        return [route for buffer in self._dump(codec.dump(DUMP), DUMP) for route in codec.routes(buffer)]


def _resolve(label: int, device: str, address: str) -> LabelRoute:
    """Raises ValueError with the reason."""
    if not 0 <= label <= HIGHEST_LABEL:
        raise ValueError(f"Linux has labels up to {HIGHEST_LABEL}; give the uplink a lower number")
    packed = ip_address(address).packed
    try:
        return LabelRoute(label, socket.if_nametoindex(device), packed)
    except OSError:
        raise ValueError(f"no interface {device} here") from None


def _told(fault: Fault) -> str:
    text = f"label {codec.label_of(fault.message)}: {fault.text}"
    if fault.errno == errno.EEXIST:
        text += ": another program's; see `ip -f mpls route`"
    return text
