"""Does this controller keep the ZeroTier network, and is it as declared?"""

from __future__ import annotations

from collections.abc import Iterator

from controller.client.examine.facts import Facts, Found, of_list
from controller.client.tables import ago


def check(facts: Facts) -> Iterator[Found]:
    segment = facts.segment
    network = segment.get("network")
    if not network:
        return
    where = f"network {network}"
    if segment["condition"] == "unmanaged":
        fix = "start the controller with --zerotier-url and --zerotier-token-file, or with --zerotier-central"
        yield Found("warning", where, f"nobody keeps it: {segment.get('reason') or 'no service is named'}", fix)
    if segment.get("error"):
        what = f"the ZeroTier service does not do what it is asked: {segment['error']}"
        if segment.get("read_at") and segment["read_at"] != segment.get("last_pass"):
            what += f" (what is said of its members and rules was read {ago(segment['read_at'], facts.now)} ago)"
        yield Found("error", where, what, "put right what it names; leyline segment sync tries again at once")
    for failure in of_list(segment, "failures"):
        yield Found("error", failure["object"], failure["message"], "leyline segment sync tries again at once")
    for member in of_list(segment, "unreadable"):
        what = f"the ZeroTier service's record of it cannot be read, so it is left alone: {member['reason']}"
        fix = f"put its record right in ZeroTier, or delete member {member['node_id']} there: it comes again by itself"
        declared = bool(member["object"])
        yield Found("error" if declared else "warning", member["object"] or f"member {member['node_id']}", what, fix)
    for member in (segment.get("held") or {}).get("members", ()):
        what = f"somebody else has set up its member {member['node_id']}: {', '.join(member['differs'])}"
        yield Found("warning", member["object"], what, f"leyline segment adopt {member['node_id']}")
    if held := (segment.get("held") or {}).get("network"):
        what = f"somebody else has set {', '.join(held)} otherwise than declared"
        yield Found("warning", where, what, "leyline segment adopt --network")
    for label in (segment.get("members") or {}).get("without_node_id", ()):
        fix = "write its node_id in the inventory (zerotier-cli info prints it)"
        yield Found("warning", label, "has no node id: it gets no address from here", fix)
