"""nftables in a node: counters of a topology's own table, and changes that are there in a millisecond."""

from __future__ import annotations

import ctypes
import json

from lab.labs import LabError
from lab.linux import NETNS_DIR, inside_netns
from lab.node import Node


def counted(node: Node, name: str) -> int:
    """Packets that a counter of the table `inet lab` has seen, which topologies make. Raises CommandFailed."""
    text = node.out(["nft", "-j", "list", "counter", "inet", "lab", name])
    return int(next(item["counter"]["packets"] for item in json.loads(text)["nftables"] if "counter" in item))


class Nftables:
    """An open connection to the ruleset of one node, by libnftables: no process for each change. Close it."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._lib = _library()
        with inside_netns(str(NETNS_DIR / node.netns)):  # Its socket is opened here, and stays there.
            self._context = ctypes.c_void_p(self._lib.nft_ctx_new(0))
        if not self._context:
            raise LabError(f"{node.name}: libnftables gives no context")
        self._lib.nft_ctx_buffer_output(self._context)
        self._lib.nft_ctx_buffer_error(self._context)

    def run(self, commands: str) -> str:
        """Commands as `nft -f` reads them, in one transaction; what they print. Raises LabError."""
        if self._lib.nft_run_cmd_from_buffer(self._context, commands.encode()) != 0:
            error = self._lib.nft_ctx_get_error_buffer(self._context) or b""
            raise LabError(f"{self.node.name}: nft: {error.decode(errors='replace').strip()}")
        output = self._lib.nft_ctx_get_output_buffer(self._context) or b""
        return str(output.decode(errors="replace"))

    def close(self) -> None:
        self._lib.nft_ctx_free(self._context)
        self._context = ctypes.c_void_p()


def _library() -> ctypes.CDLL:
    try:
        lib = ctypes.CDLL("libnftables.so.1")
    except OSError as error:
        raise LabError(f"cuts need libnftables, which Debian's package nftables brings: {error}") from None
    lib.nft_ctx_new.restype = ctypes.c_void_p
    lib.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
    lib.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
    return lib
