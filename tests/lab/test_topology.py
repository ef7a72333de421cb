"""Topology files: what is read, what is refused and how it is said, and that containerlab would take them too."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from lab import document, topology

ROOT = Path(__file__).parents[2]
FILES = sorted(path for top in ("lab", "tests") for path in (ROOT / top).rglob("*.clab.yml"))

GOOD = """\
name: one
topology:
  defaults: {kind: linux, network-mode: none, image: "debian:12.11"}
  groups:
    router: {exec: ["sysctl -w net.ipv4.ip_forward=1"], env: {ROLE: router, SIDE: none}}
  nodes:
    a: {group: router, exec: ["ip route add 10.0.0.0/8 via 10.1.1.1"], env: {SIDE: left, COUNT: 3, DEBUG: true}}
    b: {image: "registry.example:5000/frr@sha256:SHA", cmd: "sleep 'for ever'"}
  links:
    - endpoints: ["a:zt0", "b:eth1"]
    - {endpoints: ["a:eth1", "b:eth2"], mtu: 2800}
""".replace("SHA", "0" * 64)


def parse(text: str, **environ: str) -> topology.Topology:
    return topology.parse(text, Path("/tmp/one.clab.yml"), environ)


def findings(text: str, **environ: str) -> list[str]:
    with pytest.raises(topology.TopologyError) as caught:
        parse(text, **environ)
    return [f"{finding.line}: {finding.message}" for finding in caught.value.findings]


def test_reads_nodes_links_and_what_they_inherit() -> None:
    lab = parse(GOOD)
    a, b = lab.nodes
    assert (lab.name, a.image, a.kind, b.image[-4:]) == ("one", "debian:12.11", "linux", "0000")
    assert a.exec == (
        ("sysctl", "-w", "net.ipv4.ip_forward=1"),
        ("ip", "route", "add", "10.0.0.0/8", "via", "10.1.1.1"),
    )
    assert dict(a.env) == {"ROLE": "router", "SIDE": "left", "COUNT": "3", "DEBUG": "true"}
    assert b.command == ("sleep", "for ever")
    assert [(str(link.a), str(link.b), link.mtu) for link in lab.links] == [
        ("a:zt0", "b:eth1", 9500),
        ("a:eth1", "b:eth2", 2800),
    ]


def test_binds_are_relative_to_the_file_and_the_innermost_wins(tmp_path: Path) -> None:
    for name in ("shared", "own"):
        (tmp_path / name).write_text(name)
    text = GOOD.replace("defaults: {", 'defaults: {binds: ["shared:/etc/x:ro", "shared:/etc/y"], ')
    text = text.replace("    b: {", '    b: {binds: ["own:/etc/x"], ')
    lab = topology.parse(text, tmp_path / "one.clab.yml", {})
    assert {bind.target: (bind.source.name, bind.read_only) for bind in lab.node("b").binds} == {
        "/etc/x": ("own", False),
        "/etc/y": ("shared", False),
    }


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "name: one",
            "name: one\nmgnt: {}",
            "2: the file: key 'mgnt' is not supported here; there is name, prefix, topology",
        ),
        (
            "group: router, exec",
            "group: router, exect",
            "7: topology.nodes.a: key 'exect' is not supported here; did you mean 'exec'?",
        ),
        (
            "{kind: linux,",
            "{kind: linux, startup-config: x,",
            "3: topology.defaults: key 'startup-config' is not supported here; "
            "there is binds, cmd, entrypoint, env, exec, group, image, kind, network-mode",
        ),
        (
            "group: router",
            "group: rooter",
            "7: node a: group 'rooter' is not in topology.groups; did you mean 'router'?",
        ),
        ("debian:12.11", "debian:latest", "7: node a: image 'debian:latest' is whatever is newest: pin a version"),
        ("debian:12.11", "registry:5000/debian", "7: node a: image 'registry:5000/debian' has no tag: pin a version"),
        ("a:zt0", "c:zt0", "10: endpoint 'c:zt0': no node 'c'; there is a, b"),
        ("b:eth2", "b:eth1", "11: endpoint b:eth1 is used 2 times"),
        (
            "b:eth2",
            "b:ethernet-interface",
            "11: endpoint 'b:ethernet-interface': 'ethernet-interface' is no interface name (1..15 characters)",
        ),
        (', "b:eth2"]', "]", "11: a link has two endpoints, this one has 1"),
        ("mtu: 2800", "mtu: big", "11: topology.links[1].mtu: must be a number from 68 to 65535, not 'big'"),
        (
            'image: "debian:12.11"',
            "image: 12.11",
            "3: topology.defaults.image: must be text, not ScalarFloat; quote it",
        ),
        ("cmd: \"sleep 'for ever'\"", 'cmd: "sleep \'for"', '8: node b: cmd "sleep \'for": No closing quotation'),
        (
            "network-mode: none",
            "network-mode: host",
            "7: node a: network-mode is host; the lab has no Docker network, so it must be `none`",
        ),
        (
            "kind: linux",
            "kind: nokia_srlinux",
            "7: node a: kind 'nokia_srlinux' cannot be built from namespaces; only `linux` can",
        ),
        ("name: one", "name: ../etc", "1: '../etc' is no name for a lab: letters, digits and . _ -"),
    ],
)
def test_refuses_by_name_and_line(old: str, new: str, expected: str) -> None:
    assert old in GOOD
    assert expected in findings(GOOD.replace(old, new, 1))


def test_a_bridge_node_is_refused_with_the_way_out() -> None:
    (found,) = findings(GOOD.replace("    b: {", "    b: {kind: bridge, "))
    assert found.startswith("8: node b: a `bridge` lives in the host's own network")
    assert "use a `linux` node" in found


def test_says_everything_that_is_wrong_at_once() -> None:
    text = GOOD.replace("debian:12.11", "debian").replace("b:eth2", "c:eth2").replace("mtu: 2800", "mtu: 1")
    assert [line.split(":")[0] for line in findings(text)] == ["7", "11", "11"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: [", "not YAML"),
        ("- a\n", "the document must be a mapping"),
        ("", "the document must be a mapping"),
        (GOOD + "name: two\n", "12: not YAML: found duplicate key"),
        ("name: one\ntopology: 5\n", "2: topology: must be a mapping, not a number"),
        ("name: one\n", "1: the file: 'topology' is missing"),
        ("name: !!python/object:os.system {}\n", "1:"),
    ],
)
def test_what_is_no_topology_at_all(text: str, expected: str) -> None:
    assert any(expected in line for line in findings(text))


def test_a_missing_file_is_a_finding(tmp_path: Path) -> None:
    with pytest.raises(topology.TopologyError, match="cannot be read"):
        topology.read(tmp_path / "none.clab.yml", {})


def test_variables_are_expanded_before_the_file_is_read() -> None:
    text = GOOD.replace("name: one", "# ${NOT_THIS}\nname: ${LAB:=one}-${RUN:=1}")
    assert parse(text).name == "one-1"
    assert parse(text, LAB="two").name == "two-1"
    assert findings(GOOD.replace("one", "${LAB}"))[0].startswith("1: variable LAB is not set")
    assert findings(GOOD.replace("one", "$LAB"))[0] == "1: '$L': write ${NAME} or ${NAME:=default}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_of_the_tree_are_good_and_containerlab_takes_them(path: Path) -> None:
    environ = dict(os.environ)
    topology.read(path, environ)
    reader = document.Reader(str(path))
    plain = YAML(typ="safe").load(document.expand(path.read_text(), environ, reader))
    schema = json.loads((Path(__file__).parent / "clab.schema.json").read_text())
    jsonschema.Draft7Validator(schema).validate(plain)


def test_the_tree_has_topologies() -> None:
    assert FILES
