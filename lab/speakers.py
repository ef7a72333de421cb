"""Speakers in a lab, with or without a controller: their processes, and what they say of themselves."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from controller.inventory.yaml import check_yaml
from controller.policy.compile import compile_plans
from lab.expect import Run
from lab.labs import LabError
from lab.node import Node, Process
from speaker.plan import Plan, encode
from speaker.show import NoAnswer, fetch

STATE_DIR = "/run/leyline"
PLAN_FILE = "/run/leyline-plan.json"


def leyline() -> list[str]:
    """The command `leyline` of this very installation."""
    script = Path(sys.executable).with_name("leyline")
    return [str(script)] if script.exists() else [sys.executable, "-m", "controller.cli"]


class Speakers:
    """The speakers of a lab, by the names of their gateways."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.speakers: dict[str, Process] = {}
        self.environments: dict[str, Mapping[str, str]] = {}
        """What a gateway's speaker has in its environment beside the usual."""

    def node(self, gateway: str) -> Node:
        return self.run.lab.node(gateway)

    def launch(self, gateway: str, options: Sequence[str]) -> Process:
        """`leyline speaker run` with these options."""
        command = [*leyline(), "speaker", "run", "--state-dir", STATE_DIR, "--gateway", gateway, *options]
        self.speakers[gateway] = self.node(gateway).start(command, name="speaker", env=self.environments.get(gateway))
        return self.speakers[gateway]

    def process(self, gateway: str, name: str) -> Process:
        """The gateway's `agent`, `exabgp`, `bfd` or `keepalived` as it runs now. Raises LabError when it does not."""
        node = self.node(gateway)
        text = node.run(["cat", f"{STATE_DIR}/{name}.pid"], check=False).stdout.strip()
        try:
            return node.process(int(text), name)
        except (ValueError, ProcessLookupError):
            raise LabError(f"{gateway}: no {name} runs (its pid file says {text!r})") from None

    def runs(self, gateway: str, name: str) -> bool:
        try:
            return self.process(gateway, name).alive()
        except LabError:
            return False

    def stop(self, gateway: str, name: str, number: int = signal.SIGKILL) -> None:
        """End one process of the gateway, by default without mercy; its supervisor will start it again."""
        process = self.process(gateway, name)
        process.kill(number)
        if not process.wait(10):
            raise LabError(f"{gateway}: {name} survives {signal.Signals(number).name}")

    def report(self, gateway: str) -> dict[str, Any]:
        """What `leyline speaker show --json` prints there; {} while no agent answers."""
        control = Path(f"/proc/{self.node(gateway).pid}/root{STATE_DIR}/agent.sock")
        try:
            answer: dict[str, Any] = fetch(control, "report", {})
        except (NoAnswer, OSError):
            return {}
        return answer

    def next_hop(self, gateway: str, address: str) -> dict[str, Any]:
        """What the gateway says of the liveness of one next hop; {} when nothing."""
        found = [hop for hop in self.report(gateway).get("next_hops", ()) if hop["address"] == address]
        return found[0] if found else {}

    def prefixes(self, gateway: str) -> int:
        """IPv4 prefixes in the kernel's main table, whosever they are. Cheap, whatever their number."""
        text = Path(f"/proc/{self.node(gateway).pid}/net/fib_triestat").read_text()
        found = re.search(r"Prefixes:\s+(\d+)", text[text.index("Main:") :])
        return int(found[1]) if found else 0

    def wait_for_sessions(self, seconds: float) -> float:
        """Until every session of every speaker is up, and every kernel as it should be. Raises Unmet."""
        return self.run.wait_until(
            "every BGP session is up, every kernel converged", lambda: not self.unsettled(), seconds, self.unsettled
        )

    def unsettled(self) -> str:
        """Who is not there yet, and why; empty when all are."""
        lines = []
        for gateway, process in self.speakers.items():
            report = self.report(gateway)
            if not report:
                lines.append(f"{gateway}: no answer\n{process.log.read_text(errors='replace')[-2000:]}")
                continue
            down = [f"{one['peer']} ({one['reason']})" for one in report["sessions"] if one["state"] == "down"]
            stale = [one["peer"] for one in report["sessions"] if any(one["stale"].values())]
            if down or stale or not report["converged"]:
                kernel = report["kernel"]
                lines.append(f"{gateway}: down {down}, stale {stale}, converged {report['converged']} {kernel}")
        return "\n".join(lines)


class PlannedSpeakers(Speakers):
    """With plans that are compiled here and handed over as files: the fabric works without any controller."""

    def __init__(self, run: Run, inventory: Path) -> None:
        """Raises LabError with what is wrong in the inventory."""
        super().__init__(run)
        found, findings = check_yaml([inventory])
        if found is None:
            raise LabError(f"{inventory}: " + "; ".join(map(str, findings)))
        self.plans: dict[str, Plan] = compile_plans(found)

    def start(self, *options: str) -> None:
        """Every gateway of the inventory."""
        for gateway, plan in self.plans.items():
            self._write(gateway, plan)
            self.launch(gateway, ["--plan", PLAN_FILE, *options])

    def give(self, gateway: str, plan: Plan) -> None:
        """Another plan, from now on."""
        self._write(gateway, plan)
        self.plans[gateway] = plan
        self.process(gateway, "agent").kill(signal.SIGHUP)

    def _write(self, gateway: str, plan: Plan) -> None:
        self.node(gateway).write(PLAN_FILE, encode(plan).decode())
