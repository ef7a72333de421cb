"""A stock ExaBGP under somebody else's configuration, with our bridge as its hook: the text way ends as the raw way."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from speaker.bgp import bridge
from speaker.bgp.client import BridgeClient
from speaker.bgp.decode import Decoder
from speaker.bgp.encode import encode_updates
from speaker.bgp.events import PeerDown, PeerUp, UpdateReceived
from speaker.bgp.negotiated import Negotiated
from speaker.bgp.wire import end_of_rib
from speaker.plan import SessionPlan
from speaker.rib.attributes import AS_SEQUENCE, AS_SET, Attributes
from speaker.rib.prefix import Family
from tests.interop.exabgp_support import (
    SESSION,
    THEIRS,
    Ears,
    asynchronous,
    bird_config,
    fabric,
    key,
    listening,
    prefix_text,
    until,
    updates,
    withdrawals,
)
from tests.netns.namespaces import Bird

pytestmark = pytest.mark.root

AREA = "exastock"
EXABGP = Path(sys.executable).with_name("exabgp")

# What docs tell somebody who runs ExaBGP himself.
CONFIG = """
process leyline {{ run "{python}" -I "{bridge}" "{sockets}"; encoder json; }}
neighbor 10.0.0.2 {{
    router-id 10.0.0.1; local-address 10.0.0.1; local-as 64512; peer-as 64512; hold-time 9;
    adj-rib-in false; adj-rib-out false; manual-eor true;
    capability {{ graceful-restart 120; add-path {add_path}; }}
    family {{ ipv4 unicast; ipv6 unicast; }}
    api {{ processes [ leyline ]; neighbor-changes; receive {{ parsed; update; refresh; }} }}
}}
"""


@contextlib.asynccontextmanager
async def with_stock(directory: Path, *, add_path: bool = True, static: str = "") -> AsyncIterator[tuple[Bird, Ears]]:
    with fabric(AREA, directory) as (engine, namespace):
        bird = namespace.bird(bird_config(directory, static=static), directory / "bird")
        engine.directory.mkdir()
        text = CONFIG.format(
            python=sys.executable,
            bridge=bridge.__file__,
            sockets=engine.sockets,
            add_path="send/receive" if add_path else "disable",
        )
        engine.config.write_text(text)
        settings = {"exabgp_daemon_drop": "false", "exabgp_api_compact": "true", "exabgp_api_cli": "false"}
        with (engine.directory / "exabgp.log").open("wb") as log:
            engine.namespace.start(str(EXABGP), str(engine.config), output=log, env={**os.environ, **settings})
        async with listening(engine) as ears:
            yield bird, ears


def meds(bird: Bird) -> dict[str, int]:
    """Prefix -> MED of every route that BIRD has from us."""
    found: dict[str, int] = {}
    prefix = ""
    for line in bird.ask("show route all protocol peer table master4").splitlines():
        if line[:1].isdigit():
            prefix = line.split()[0]
        elif "BGP.med:" in line:
            found[prefix] = int(line.split()[-1])
    return found


async def churn(client: BridgeClient, path_id: int | None) -> None:
    """1,000 prefixes with MED 1, then 2, then 1 again, at once; every tenth goes, every hundredth comes again."""
    for med in (1, 2, 1):
        client.send([THEIRS], updates(range(1000), med=med, path_id=path_id))
    client.send([THEIRS], withdrawals(range(0, 1000, 10), path_id=path_id))
    client.send([THEIRS], updates(range(0, 1000, 100), med=1, path_id=path_id))
    client.send([THEIRS], [end_of_rib(Family.IPV4)])
    await client.drain()


EXPECTED = {prefix_text(number): 1 for number in range(1000) if number % 10 or number % 100 == 0}


@pytest.mark.parametrize("add_path", [False, True])
def test_churn_by_text_ends_as_by_raw(tmp_path: Path, add_path: bool) -> None:
    path_id = 7 if add_path else None

    async def by_text() -> None:
        async with with_stock(tmp_path / "text", add_path=add_path) as (bird, ears):
            await until(lambda: bool(ears.of(PeerUp)), 10)
            await churn(ears.client, path_id)
            await until(lambda: meds(bird) == EXPECTED, 30, lambda: str(len(meds(bird))))
            # And once more on a table that ExaBGP has sent already.
            ears.client.send([THEIRS], updates(range(1000), med=2, path_id=path_id))
            await until(lambda: len(meds(bird)) == 1000 and set(meds(bird).values()) == {2}, 30)
            await churn(ears.client, path_id)
            await until(lambda: meds(bird) == EXPECTED, 30, lambda: str(len(meds(bird))))

    async def by_raw() -> None:
        with fabric(AREA, tmp_path / "raw", SESSION if add_path else _without_add_path()) as (engine, namespace):
            directory = tmp_path / "raw"
            bird = namespace.bird(bird_config(directory), directory / "bird")
            engine.start()
            async with listening(engine) as ears:
                await churn(ears.client, path_id)
                await until(lambda: meds(bird) == EXPECTED, 30, lambda: str(len(meds(bird))))

    (tmp_path / "text").mkdir()
    (tmp_path / "raw").mkdir()
    asynchronous(by_text)()
    asynchronous(by_raw)()


def _without_add_path() -> SessionPlan:
    return replace(SESSION, add_path=False)


RICH = """
protocol static own { ipv4; route 20.0.0.0/24 via "lo" {
    bgp_large_community.add((64512, 9, 1)); bgp_community.add((64512, 7)); bgp_ext_community.add((rt, 64512, 9));
    bgp_med = 7; bgp_local_pref = 300; bgp_path.prepend(65001);
}; }
protocol static own6 { ipv6; route 2001:db8::/48 via "lo"; }
"""


@asynchronous
async def test_what_exabgp_decoded_is_the_same_update(tmp_path: Path) -> None:
    async with with_stock(tmp_path, static=RICH) as (_, ears):
        await until(lambda: len(ears.of(UpdateReceived)) == 4, 10, lambda: str(ears.events))
        decoder = Decoder(ears.of(PeerUp)[0].negotiated, ibgp=True)
        decoded = [decoder.decode(event.body) for event in ears.of(UpdateReceived)]
        assert {update.end_of_rib for update in decoded} == {None, Family.IPV4, Family.IPV6}
        routes = {family: (path_id, keys, said) for u in decoded for family, path_id, keys, said in u.announced}
        path_id, keys, attributes = routes[Family.IPV4]
        assert keys == [key(0)]
        assert path_id > 0
        assert attributes == Attributes(
            next_hop=b"\x0a\0\0\x02",
            as_path=((AS_SEQUENCE, (65001,)),),
            med=7,
            local_pref=300,
            communities=((64512 << 16) + 7,),
            extended_communities=(bytes.fromhex("0002fc0000000009"),),
            large_communities=((64512, 9, 1),),
        )
        assert routes[Family.IPV6][1] == [b"\x30\x20\x01\x0d\xb8\0\0"]
        assert routes[Family.IPV6][2].next_hop[:2] == b"\xfd\0"


@asynchronous
async def test_every_attribute_has_words(tmp_path: Path) -> None:
    attributes = Attributes(
        next_hop=b"\x0a\0\0\x01",
        origin=1,
        as_path=((AS_SEQUENCE, (65001, 4200000000)), (AS_SET, (7, 8))),
        med=5,
        local_pref=200,
        atomic_aggregate=True,
        aggregator=(65001, b"\x01\x02\x03\x04"),
        communities=((64512 << 16) + 7, 0xFFFF0000),
        originator_id=b"\x01\x01\x01\x01",
        cluster_list=(b"\x02\x02\x02\x02", b"\x03\x03\x03\x03"),
        extended_communities=(bytes.fromhex("0002fc0000000009"),),
        large_communities=((64512, 9, 1), (64512, 9, 2)),
        unknown=((0xE0, 0x63, b"\x01\x02"),),
    )
    async with with_stock(tmp_path) as (bird, ears):
        negotiated = ears.of(PeerUp)[0].negotiated
        assert negotiated == Negotiated(
            families=frozenset(Family), add_path_send=frozenset(Family), add_path_receive=frozenset(Family), as4=True
        )
        ears.client.send([THEIRS], encode_updates(Family.IPV4, negotiated, [], [(7, attributes, [key(0), key(1)])]))
        await until(lambda: bird.routes("peer", "master4") == 2, 10, lambda: str(ears.events))
        shown = bird.ask("show route 20.0.1.0/24 all")
        for words in (
            "BGP.origin: EGP",
            "BGP.as_path: 65001 4200000000 {7 8}",
            "BGP.med: 5",
            "BGP.local_pref: 200",
            "BGP.atomic_aggr",
            "BGP.aggregator: 1.2.3.4 AS65001",
            "BGP.community: (64512,7) (65535,0)",
            "BGP.originator_id: 1.1.1.1",
            "BGP.cluster_list: 2.2.2.2 3.3.3.3",
            "BGP.ext_community: (rt, 64512, 9)",
            "BGP.large_community: (64512, 9, 1) (64512, 9, 2)",
            "BGP.63 [t]: 01 02",
        ):
            assert words in shown


@asynchronous
async def test_a_session_that_flaps_is_told_everything_again(tmp_path: Path) -> None:
    async with with_stock(tmp_path) as (bird, ears):
        ears.client.send([THEIRS], updates(range(10)))
        await until(lambda: bird.routes("peer", "master4") == 10, 10)
        bird.ask("restart peer")
        await until(lambda: len(ears.of(PeerUp)) == 2, 20, lambda: str(ears.events))
        down = next(event for event in ears.of(PeerDown) if event.established)
        assert down.notification
        assert not ears.of(PeerUp)[1].resumed
        ears.client.send([THEIRS], updates(range(5)))
        await until(lambda: bird.routes("peer", "master4") == 5, 10)
