"""What we replace in ExaBGP, or rely on beside it, by hash of its source.

Another release, or a patched one, is refused with the name of what differs: a replacement that no
longer fits would lose routes without a word.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from functools import reduce

VERSION = "5.0.15"

KNOWN: dict[str, str] = {
    "exabgp.bgp.message.message:Message.unpack": "546ef932676a3d72",
    "exabgp.bgp.message.open:Open.unpack_message": "0bc58ecd6516e23d",
    "exabgp.bgp.message.update:Update.unpack_message": "0dbbe84626d1243a",
    "exabgp.configuration.neighbor:ParseNeighbor._post_capa_rr": "10fd7ad67dfd6625",
    "exabgp.reactor.api:API.process": "577ac15463d05088",
    "exabgp.reactor.api:API.response": "eb2df0be5e9ebc70",
    "exabgp.reactor.api.command.command:Command": "7fe9aaf4130adc99",
    "exabgp.reactor.api.processes:Processes._handle_problem": "9f3e80dac1cd0a56",
    "exabgp.reactor.api.processes:Processes._record_respawn": "1f50c11e02a3610f",
    "exabgp.reactor.api.processes:Processes._start": "3b7435641454714f",
    "exabgp.reactor.api.processes:Processes.packets": "b31f1cd5fc2d33d6",
    "exabgp.reactor.api.processes:Processes.received": "844093e8f014d2e2",
    "exabgp.reactor.api.processes:Processes.write": "59a9a5eb6dfdcd34",
    "exabgp.reactor.api.response.json:JSON._header": "2d14dce72e3c6de3",
    "exabgp.reactor.api.response.json:JSON._neighbor": "b982b54ed753a5b9",
    "exabgp.reactor.api.response.json:JSON.down": "fdb6941523fdc345",
    "exabgp.reactor.api.response.json:JSON.packets": "20882907348dd293",
    "exabgp.reactor.api.response.json:JSON.up": "9cab2bbbbf938459",
    "exabgp.reactor.delay:Delay": "910a6bef7e774522",
    "exabgp.reactor.keepalive:KA": "71b1a0120f42abbc",
    "exabgp.reactor.listener:Listener._listen": "bbf085510e08a64e",
    "exabgp.reactor.listener:Listener._new_socket": "f3a65c30428a9722",
    "exabgp.reactor.listener:Listener.new_connections": "84f94bf35546e653",
    "exabgp.reactor.loop:Reactor._listen_for_neighbors": "ab813846666eacde",
    "exabgp.reactor.loop:Reactor._pending_adjribout": "1eca799614b5b01c",
    "exabgp.reactor.loop:Reactor.reload": "9d31059186ff3252",
    "exabgp.reactor.loop:Reactor.run": "2be669a4812a5c6d",
    "exabgp.reactor.network.connection:Connection.__init__": "00d0002e6fa1a033",
    "exabgp.reactor.network.connection:Connection.writer": "c7cb346b75b1a522",
    "exabgp.reactor.network.outgoing:Outgoing": "da24138785d2c7d8",
    "exabgp.reactor.peer:Peer._close": "942fc729d7b67f45",
    "exabgp.reactor.peer:Peer._main": "e5ea2fecea84afed",
    "exabgp.reactor.peer:Peer._reset": "4f709dbfce076cda",
    "exabgp.reactor.peer:Peer._run": "a514d2f5f0bb3364",
    "exabgp.reactor.peer:Peer.handle_connection": "ecb82811d4b5461a",
    "exabgp.reactor.peer:Peer.reconfigure": "44a64d6efec03466",
    "exabgp.reactor.peer:Peer.reestablish": "dfb1ac36c5615d53",
    "exabgp.reactor.peer:Peer.resend": "fa66eee93277fb77",
    "exabgp.reactor.peer:Peer.run": "c00bb5613e406b4f",
    "exabgp.reactor.protocol:Protocol.new_notification": "7134b1910504dde9",
    "exabgp.reactor.protocol:Protocol.new_update": "7b25e4e0dd97e57d",
    "exabgp.reactor.protocol:Protocol.read_message": "1266df3f50c763ff",
    "exabgp.reactor.protocol:Protocol.send": "b5b0461338ed6d4b",
    "exabgp.rib:RIB": "18fd9a460701bbde",
    "exabgp.rib.outgoing:OutgoingRIB.__init__": "5ce2b083fca71589",
    "exabgp.rib.outgoing:OutgoingRIB.clear": "f11870894f65bfcc",
    "exabgp.rib.outgoing:OutgoingRIB.pending": "b3f88dc7b3096abf",
    "exabgp.rib.outgoing:OutgoingRIB.reset": "6d53aa9fc2517d98",
    "exabgp.rib.outgoing:OutgoingRIB.updates": "49a023385063c86e",
    "exabgp.util:hexstring": "43de1dab2e06089d",
}


class Unsupported(RuntimeError):
    """The installed ExaBGP is not the one that the replacements were written for. The text names what differs."""


def source_hash(name: str) -> str:
    """16 hex digits over the source of `module:qualified.name`. Raises Unsupported when there is no such thing."""
    module, _, path = name.partition(":")
    try:
        symbol = reduce(getattr, path.split("."), importlib.import_module(module))
        source = inspect.getsource(symbol)
    except (ImportError, AttributeError, OSError, TypeError) as error:
        raise Unsupported(f"exabgp {VERSION} has no {name} ({error}): install exabgp=={VERSION} again") from None
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def verify() -> None:
    """Raises Unsupported unless the installed ExaBGP is exactly VERSION and every symbol is what it was."""
    from exabgp.version import version

    if version != VERSION:
        raise Unsupported(f"exabgp {version} is installed; Leyline runs {VERSION} only: pip install exabgp=={VERSION}")
    for name, known in KNOWN.items():
        found = source_hash(name)
        if found != known:
            raise Unsupported(f"exabgp {VERSION}: {name} is not what it was ({found}, not {known}): install it again")
