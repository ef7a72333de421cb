"""Services that are broken, slow, strange or lying: each is named as what it is, and the next good answer is used.

Both adapters, the same faults. No fault may show the token, repeat what does not help, or last longer than it may.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from itertools import pairwise
from typing import Any

import httpx2
import pytest

from controller.zerotier.central import Central
from controller.zerotier.http import MAX_ANSWER_BYTES, Pace, Patience, Secret
from controller.zerotier.port import (
    MAX_UNREADABLE,
    Garbled,
    MemberChange,
    NetworkChange,
    NoController,
    NotStored,
    RateLimited,
    Refused,
    SegmentApi,
    Unauthorised,
    Unreachable,
    ZeroTierError,
)
from controller.zerotier.selfhosted import SelfHosted
from tests.controller.zerotier.fake import FakeNode, FakeWorld
from tests.controller.zerotier.fake_central import BASE, FakeCentral
from tests.controller.zerotier.fake_http import Answer, Faulty, said, served, transport
from tests.controller.zerotier.recordings import CONTROLLER, FIXTURE, MEMBER

TOKEN = "t0ken-that-nobody-may-see"
ADDRESS = IPv4Address("10.43.0.11")
HTML = Answer(200, "text/html", b"<html><title>Sign in to the hotel's WiFi</title></html>")
AFTER_2 = Answer(429, "", b"", {"Retry-After": "2"})
AFTER_600 = Answer(429, "", b"", {"Retry-After": "600"})
ATTEMPTS = Patience().attempts


@dataclass
class Bench:
    """One adapter on a fake that can be made faulty; `slept` are the pauses that it took."""

    service: Faulty
    api: SegmentApi
    slept: list[float] = field(default_factory=list)


def selfhosted() -> Bench:
    node = FakeWorld().node(CONTROLLER, TOKEN)
    _own(node).put_network(FIXTURE, {"name": "fixture"})
    faulty, slept = Faulty(node), list[float]()
    return Bench(faulty, SelfHosted("http://127.0.0.1:9993", TOKEN, FIXTURE, **_options(faulty, slept)), slept)


def central() -> Bench:
    fake = FakeCentral(TOKEN)
    fake.controller.put_network(FIXTURE, {"name": "fixture"})
    faulty, slept = Faulty(fake), list[float]()
    options = _options(faulty, slept) | {"interval": 0.0}
    return Bench(faulty, Central(TOKEN, FIXTURE, f"https://central.example{BASE}", **options), slept)


def _options(fake: Faulty, slept: list[float]) -> dict[str, Any]:
    return {"transport": transport(fake), "sleep": slept.append}


def _own(node: FakeNode) -> Any:
    assert node.controller is not None
    return node.controller


@pytest.fixture(params=[selfhosted, central], ids=["selfhosted", "central"])
def bench(request: pytest.FixtureRequest) -> Bench:
    made: Callable[[], Bench] = request.param
    return made()


PASSING = [
    pytest.param(HTML, id="html"),
    pytest.param(Answer(200, "application/json", b'{"id": "53fe9'), id="truncated"),
    pytest.param(Answer(200, "application/json", b""), id="empty"),
    pytest.param(Answer(200, "application/json", b"\xff\xfe"), id="not-utf8"),
    pytest.param(Answer(200, "application/json", b"[" * 200_000), id="deep"),
    pytest.param(AFTER_2, id="429"),
    pytest.param(Answer(429, ""), id="429-without-a-time"),
    pytest.param(Answer(500, "text/plain", b"oops"), id="500"),
    pytest.param(Answer(502, "text/html", b"<html>bad gateway"), id="502"),
    pytest.param(Answer(503, ""), id="503"),
    pytest.param(httpx2.ReadTimeout("slow"), id="read-timeout"),
    pytest.param(httpx2.ConnectTimeout("slow"), id="connect-timeout"),
    pytest.param(httpx2.ConnectError("Connection refused"), id="refused"),
    pytest.param(httpx2.RemoteProtocolError("Server disconnected"), id="disconnected"),
]
LASTING = [Garbled] * 5 + [RateLimited] * 2 + [Unreachable] * 7
NAMED = [pytest.param(*fault.values, error, id=fault.id) for fault, error in zip(PASSING, LASTING, strict=True)]


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_sat_out(bench: Bench, fault: Answer | Exception) -> None:
    bench.service.instead(*[fault] * (ATTEMPTS - 1))
    assert bench.api.network().name == "fixture"
    assert len(bench.slept) == ATTEMPTS - 1


@pytest.mark.parametrize(("fault", "error"), NAMED)
def test_what_lasts_is_named_and_gone_with_its_end(
    bench: Bench, fault: Answer | Exception, error: type[ZeroTierError]
) -> None:
    bench.service.instead(*[fault] * ATTEMPTS)
    with pytest.raises(error):
        bench.api.network()
    assert len(bench.service.asked) == ATTEMPTS
    assert bench.api.network().name == "fixture"


def test_a_write_whose_answer_breaks_off_is_written_again(bench: Bench) -> None:
    """It may have been done: to do it twice changes nothing."""
    bench.service.cut(20)
    member = bench.api.write_member(MEMBER, MemberChange(authorised=True, addresses=(ADDRESS,)))
    assert (member.authorised, member.addresses) == (True, (ADDRESS,))


PERMANENT = [
    pytest.param(Answer(401, "application/json", b"{}"), Unauthorised, "token", id="401"),
    pytest.param(Answer(403, "application/json", b"{}"), Unauthorised, "403", id="403"),
    pytest.param(Answer(400, "text/plain", b"no such thing"), Refused, "no such thing", id="400"),
    pytest.param(Answer(405, ""), Refused, "does not say why", id="405"),
    pytest.param(
        said({"error": 500, "description": "[json.exception.type_error.302] type must be string"}, 500),
        Refused, "type must be string", id="json-exception",
    ),
    pytest.param(AFTER_600, RateLimited, "again in 600 s", id="429-far"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "error", "word"), PERMANENT)
def test_what_does_not_pass_is_not_repeated(
    bench: Bench, answer: Answer, error: type[ZeroTierError], word: str
) -> None:
    bench.service.instead(answer)
    with pytest.raises(error, match=word):
        bench.api.network()
    assert (len(bench.service.asked), bench.slept) == (1, [])


def test_a_redirect_is_not_followed(bench: Bench) -> None:
    bench.service.instead(*[Answer(302, "", b"", {"Location": "http://evil.example/login"})] * ATTEMPTS)
    with pytest.raises(Garbled, match="evil"):
        bench.api.network()
    assert all(path.startswith(("/controller", BASE)) for _, path in bench.service.asked)


def test_pauses_grow_and_are_bounded() -> None:
    slept: list[float] = []
    fake = Faulty(FakeWorld().node(CONTROLLER, TOKEN))
    patience = Patience(attempts=10, first_pause=0.2, longest_pause=5.0)
    fake.instead(*[Answer(503, "")] * 10)
    with pytest.raises(Unreachable):
        SelfHosted("http://[::1]:9993", TOKEN, FIXTURE, patience=patience, **_options(fake, slept)).network()
    assert len(slept) == 9
    assert (slept[0] < 0.5, slept[-1]) == (True, 5.0)
    assert all(later >= 0.75 * before for before, later in pairwise(slept))


def test_retry_after_is_waited_for(bench: Bench) -> None:
    bench.service.instead(AFTER_2)
    bench.api.network()
    assert bench.slept == [2.0]


@pytest.mark.parametrize(
    "text", ["soon", "-5", "99999999999999999999", "nan", "Tue, 99 Foo 2024 99:99:99 UTC", "²", "1e9"]
)
def test_nonsense_in_retry_after_breaks_nothing(bench: Bench, text: str) -> None:
    bench.service.instead(Answer(429, "", b"", {"Retry-After": text}))
    with suppress(RateLimited):
        assert bench.api.network().name == "fixture"
    assert all(0 <= pause <= Patience().longest_pause for pause in bench.slept)


WRONG: list[Any] = [None, 7, "text", [], [1], {}, {"id": 5}, {"id": FIXTURE, "routes": 5}, {"id": "00" * 8},
                    {"id": FIXTURE, "routes": [{"target": "bogus"}]}, {"id": FIXTURE, "mtu": "1280"},
                    {"id": FIXTURE, "v4AssignMode": []}, {"id": FIXTURE, "rules": ["accept"]}]  # fmt: skip


@pytest.mark.parametrize("document", WRONG, ids=json.dumps)
def test_json_that_says_something_else_is_garbled(bench: Bench, document: Any) -> None:
    """Central has it a level deeper."""
    wrapped = {"config": document} if isinstance(bench.api, Central) else document
    bench.service.instead(said(wrapped))
    with pytest.raises(Garbled):
        bench.api.network()


MEMBERS: list[Any] = [None, {"data": 5}, {"data": [{"id": "short"}]}, [{"nodeId": "short", "config": {}}], [5], {}]


@pytest.mark.parametrize("document", MEMBERS, ids=json.dumps)
def test_a_list_of_members_that_is_none_is_garbled(bench: Bench, document: Any) -> None:
    bench.service.instead(said(document))
    with pytest.raises(Garbled):
        bench.api.members()


def spoilt(*node_ids: str) -> Callable[[Callable[[], Answer]], Answer]:
    """The service's own answer, with the addresses of these members no addresses."""

    def answer(properly: Callable[[], Answer]) -> Answer:
        told = properly()
        document = json.loads(told.body)
        listed = document.get("data", [document]) if isinstance(document, dict) else document
        for each in listed:
            if {each.get("id"), each.get("nodeId")} & {*node_ids}:
                each.get("config", each)["ipAssignments"] = ["bogus"]
        return replace(told, body=json.dumps(document).encode())

    return answer


def test_one_record_that_cannot_be_read_is_named_and_the_others_are_read(bench: Bench) -> None:
    for node_id in (MEMBER, "61d5d0a78e"):
        bench.api.write_member(node_id, MemberChange(authorised=True, addresses=(ADDRESS,)))
    bench.service.faults.append(spoilt(MEMBER))
    found = bench.api.members()
    assert set(found) == {"61d5d0a78e"}
    assert set(found.unreadable) == {MEMBER}
    assert "bogus" in found.unreadable[MEMBER]
    assert bench.api.members().unreadable == {}


def test_a_record_that_cannot_be_read_in_a_release_before_1_14() -> None:
    bench = selfhosted()
    for node_id in (MEMBER, "61d5d0a78e"):
        bench.api.write_member(node_id, MemberChange(authorised=True))
    bench.service.instead(Answer(404, ""))
    bench.service.faults += [lambda properly: properly(), spoilt(MEMBER), spoilt(MEMBER)]
    found = bench.api.members()
    assert (set(found), set(found.unreadable)) == ({"61d5d0a78e"}, {MEMBER})


def test_many_records_that_cannot_be_read_are_a_service_that_is_none(bench: Bench) -> None:
    many = [f"{number:010x}" for number in range(1, MAX_UNREADABLE + 2)]
    behind: Any = bench.service.behind
    for node_id in many:
        behind.controller.put_member(FIXTURE, node_id, {})
    bench.service.faults.append(spoilt(*many[1:]))
    assert len(bench.api.members().unreadable) == MAX_UNREADABLE
    bench.service.faults.append(spoilt(*many))
    with pytest.raises(Garbled, match="bogus"):
        bench.api.members()


def test_an_answer_about_another_member_is_garbled() -> None:
    bench = selfhosted()
    other = bench.service.behind.answer("POST", f"/controller/network/{FIXTURE}/member/61d5d0a78e",
                                        {"x-zt1-auth": TOKEN}, b"{}")  # fmt: skip
    bench.service.instead(other, other)
    with pytest.raises(Garbled, match="61d5d0a78e"):
        bench.api.write_member(MEMBER, MemberChange(authorised=True))


class Endless(httpx2.SyncByteStream):
    """A body without an end; counts what was taken of it."""

    def __init__(self, tick: Callable[[], None] = lambda: None) -> None:
        self.taken, self.tick = 0, tick

    def __iter__(self) -> Iterator[bytes]:
        while True:
            self.taken += 1 << 20
            self.tick()
            yield b" " * (1 << 20)


def test_an_answer_without_an_end_is_cut_off() -> None:
    bodies: list[Endless] = []

    def handle(_request: httpx2.Request) -> httpx2.Response:
        bodies.append(Endless())
        return httpx2.Response(200, stream=bodies[-1])

    segment = SelfHosted("http://127.0.0.1:9993", TOKEN, FIXTURE, transport=httpx2.MockTransport(handle),
                         sleep=lambda _: None)  # fmt: skip
    with pytest.raises(Garbled, match="more than 32 MiB"):
        segment.network()
    assert max(body.taken for body in bodies) <= MAX_ANSWER_BYTES + (2 << 20)


def test_an_answer_that_drips_is_given_up() -> None:
    """No single read times out; the whole does."""
    now = [0.0]

    def tick() -> None:
        now[0] += 15.0

    fake = httpx2.MockTransport(lambda _request: httpx2.Response(200, stream=Endless(tick)))
    segment = SelfHosted("http://127.0.0.1:9993", TOKEN, FIXTURE, transport=fake, sleep=lambda _: None,
                         clock=lambda: now[0])  # fmt: skip
    with pytest.raises(Unreachable, match="within 20 s"):
        segment.network()


class Liar:
    """Says yes to every write, with what was wanted, and stores nothing; reads are honest."""

    def __init__(self, behind: FakeNode) -> None:
        self.behind, self.lying = behind, True

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> Answer:
        own = _own(self.behind)
        before = own.snapshot()
        found = self.behind.answer(method, path, headers, body)
        if self.lying and method == "POST":
            own.restore(before)
        return found


def test_a_service_that_lies_is_caught_and_believed_again() -> None:
    node = FakeWorld().node(CONTROLLER, TOKEN)
    _own(node).put_network(FIXTURE, {"name": "fixture"})
    _own(node).put_member(FIXTURE, MEMBER, {})
    liar = Liar(node)
    segment = SelfHosted("http://127.0.0.1:9993", TOKEN, FIXTURE, transport=transport(liar))
    with pytest.raises(NotStored, match="took mtu 1280 and stores 2800"):
        segment.write_network(NetworkChange(mtu=1280))
    with pytest.raises(NotStored, match=r"took addresses \(10.43.0.11\) and stores \(\)"):
        segment.write_member(MEMBER, MemberChange(addresses=(ADDRESS,)))
    liar.lying = False
    assert segment.write_network(NetworkChange(mtu=1280)).mtu == 1280
    assert segment.write_member(MEMBER, MemberChange(addresses=(ADDRESS,))).addresses == (ADDRESS,)


def test_a_node_without_a_controller_is_named() -> None:
    node = FakeWorld().node(CONTROLLER, TOKEN, controller=False)
    segment = SelfHosted("http://127.0.0.1:9993", TOKEN, FIXTURE, transport=transport(node))
    for call in (segment.describe, segment.network, segment.members, lambda: segment.delete_member(MEMBER),
                 lambda: segment.write_network(NetworkChange(mtu=1280)),
                 lambda: segment.write_member(MEMBER, MemberChange(authorised=True))):  # fmt: skip
        with pytest.raises(NoController, match=r"without a controller .*1\.16"):
            call()


class WebServer:
    """Something else listens on that port."""

    def answer(self, *_request: Any) -> Answer:
        return Answer(404, "text/html", b"<html>no such page</html>")


def test_a_web_server_is_not_taken_for_a_node_without_a_controller() -> None:
    options: dict[str, Any] = {"transport": transport(WebServer()), "sleep": lambda _seconds: None}
    selfhosted, central = (
        SelfHosted("http://127.0.0.1:80", TOKEN, FIXTURE, **options),
        Central(TOKEN, FIXTURE, **options),
    )
    for call in (selfhosted.network, selfhosted.members, selfhosted.describe, central.describe):
        with pytest.raises(Garbled, match="404: no "):
            call()


def test_a_network_of_another_controller_is_not_made_here() -> None:
    """zerotier-one makes it and answers 200; no member ever hears of it."""
    node = FakeWorld().node(MEMBER, TOKEN)
    segment = SelfHosted("http://127.0.0.1:9993", TOKEN, FIXTURE, transport=transport(node))
    with pytest.raises(NoController, match=f"belongs to the controller {CONTROLLER}.* is {MEMBER}"):
        segment.write_network(NetworkChange(mtu=1280))
    assert _own(node).networks == {}


def test_a_release_before_1_14_lists_members_one_by_one() -> None:
    bench = selfhosted()
    bench.api.write_member(MEMBER, MemberChange(authorised=True))
    bench.service.instead(Answer(404, ""))  # /unstable is not there.
    assert set(bench.api.members()) == {MEMBER}


SAYS_IT_ALL = [
    Answer(400, "text/plain", f"bad token {TOKEN} given".encode()),
    Answer(500, "text/plain", f"stack: auth={TOKEN}".encode()),
    Answer(302, "", b"", {"Location": f"http://elsewhere.example/?auth={TOKEN}"}),
    Answer(200, f"text/{TOKEN}", TOKEN.encode()),
    said({"id": TOKEN, "config": {"id": TOKEN}}),
    httpx2.RemoteProtocolError(f"illegal header X-ZT1-Auth: {TOKEN}"),
]


@pytest.mark.parametrize("fault", SAYS_IT_ALL, ids=range(len(SAYS_IT_ALL)))
def test_the_token_is_in_no_error_log_or_repr(
    bench: Bench, fault: Answer | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bench.service.instead(*[fault] * ATTEMPTS)
    with pytest.raises(ZeroTierError) as caught:
        bench.api.network()
    shown = "".join(traceback.format_exception(caught.value))
    assert TOKEN not in shown + repr(caught.value) + caplog.text
    assert TOKEN not in repr(bench.api) + str(vars(bench.api)) + repr(Secret("X-ZT1-Auth", TOKEN))


@pytest.mark.parametrize("token", ["", " ", "two words", "line\nbreak", "ключ", "\x00"])
def test_a_token_that_is_none_is_said_at_once(token: str) -> None:
    with pytest.raises(Unauthorised, match="copy it again") as caught:
        SelfHosted("http://127.0.0.1:9993", token, FIXTURE)
    assert token.strip() == "" or token not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:9993", "ftp://127.0.0.1", "http://", "http://[::1", "http://x:99999999"]
)
def test_a_url_that_is_none_is_said_at_once(url: str) -> None:
    with pytest.raises(Unreachable, match="no http:// or https:// URL"):
        SelfHosted(url, TOKEN, FIXTURE)


@pytest.mark.parametrize("network", ["", "53fe91125f", "53FE91125F32F35C", "../../status", "53fe91125f32f35c/member"])
def test_a_network_id_that_is_none_is_said_at_once(network: str) -> None:
    with pytest.raises(Refused, match="sixteen"):
        Central(TOKEN, network)


def test_a_password_in_the_url_is_not_shown() -> None:
    segment = SelfHosted(f"http://me:{TOKEN}@127.0.0.1:9993/", TOKEN, FIXTURE)
    assert TOKEN not in repr(segment)


def test_on_real_sockets() -> None:
    """Closed port, then a service; the same adapter."""
    node = FakeWorld().node(CONTROLLER, TOKEN)
    with served(node) as url:
        pass
    quick = Patience(connect=1.0, answer=1.0, attempts=2, first_pause=0.01)
    segment = SelfHosted(url, TOKEN, FIXTURE, patience=quick)
    with pytest.raises(Unreachable, match="is it running"):
        segment.describe()
    with served(node, int(url.rpartition(":")[2])):
        assert segment.describe().address == CONTROLLER
        assert segment.write_network(NetworkChange(name="made")).name == "made"


def test_a_service_that_is_silent_costs_one_answers_time() -> None:
    release = threading.Event()

    class Silent:
        def answer(self, *_request: Any) -> Answer:
            release.wait(10)
            return said({})

    with served(Silent()) as url:
        started = time.monotonic()
        with pytest.raises(Unreachable, match=r"not answered within 0\.3 s"):
            SelfHosted(url, TOKEN, FIXTURE, patience=Patience(answer=0.3)).network()
        assert time.monotonic() - started < 3.0
        release.set()


@pytest.mark.slow
def test_threads_share_an_adapter() -> None:
    node = FakeWorld().node(CONTROLLER, TOKEN)
    _own(node).put_network(FIXTURE, {"name": "fixture"})
    with served(node) as url:
        segment = SelfHosted(url, TOKEN, FIXTURE)
        failures: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for turn in range(5):
                    segment.write_member(f"{number:010x}", MemberChange(name=f"{number}-{turn}"))
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 7)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert failures == []
        assert {member.name for member in segment.members().values()} == {f"{number}-4" for number in range(1, 7)}


def test_the_pace_is_kept_over_all_threads() -> None:
    """Each takes its own slot, and waits outside of the lock."""
    slept: list[float] = []
    pace = Pace(0.1, clock=lambda: 7.0, sleep=slept.append)
    for _ in range(4):
        pace.wait()
    assert slept == pytest.approx([0.1, 0.2, 0.3])
