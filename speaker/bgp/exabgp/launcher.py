"""`python -m speaker.bgp.exabgp.launcher CONFIG` runs the pinned ExaBGP with our replacements, in the foreground.

`--check CONFIG` reads a configuration as ExaBGP would, says what is wrong with it, and ends: 0 when it is good.

SIGUSR1 reloads CONFIG, SIGTERM stops without NOTIFICATION, so peers that do graceful restart keep our routes.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import MutableMapping, Sequence

MODE = "LEYLINE_BRIDGE_MODE"
VERSION = "LEYLINE_EXABGP_VERSION"

ENVIRONMENT = {
    "exabgp_daemon_drop": "false",
    "exabgp_daemon_user": "root",
    "exabgp_daemon_daemonize": "false",
    "exabgp_log_enable": "true",
    "exabgp_log_level": "ERROR",
    "exabgp_log_destination": "stderr",
    "exabgp_api_ack": "true",
    "exabgp_api_cli": "false",
    "exabgp_api_compact": "true",
    "exabgp_api_respawn": "true",
    "exabgp_api_terminate": "false",
    "exabgp_bgp_openwait": "5",  # A peer that accepts TCP and says nothing for 60 s is not worth the wait.
    "exabgp_cache_attributes": "false",
    "exabgp_tcp_bind": "",
}
"""What ExaBGP reads while it is imported. Whatever the caller's environment says about these is replaced."""


def prepare(environment: MutableMapping[str, str]) -> None:
    """ExaBGP's settings and the hook's mode, put into `environment`. Must come before ExaBGP is imported."""
    for name in [name for name in environment if name.startswith(("exabgp.", "exabgp_")) and "port" not in name]:
        del environment[name]
    environment.update(ENVIRONMENT)
    environment[MODE] = "raw"
    environment.setdefault("exabgp_tcp_port", "179")


def without_dns() -> None:
    """ExaBGP asks for its own full name at start: without a DNS server that answers, 10 s and more go by.

    Nothing that we use needs it.
    """
    socket.getfqdn = lambda name="": name or socket.gethostname()


def check(config_file: str) -> str:
    """What is wrong with a configuration, as ExaBGP sees it; "" when nothing is."""
    from exabgp.configuration.configuration import Configuration
    from exabgp.environment import getenv
    from exabgp.logger import log
    from exabgp.rib import RIB

    log.init(getenv())
    configuration = Configuration([config_file])
    wrong = "" if configuration.reload() else str(configuration.error)
    RIB._cache.clear()  # What was parsed to be looked at is no session's table.
    return wrong


def run(config_file: str) -> int:
    from exabgp.application.main import main as exabgp_main

    from speaker.bgp.exabgp import patches

    patches.apply(config_file)
    sys.argv = ["exabgp", "server", config_file]
    return int(exabgp_main() or 0)


def main(arguments: Sequence[str]) -> int:
    only_check = len(arguments) == 2 and arguments[0] == "--check"
    if not only_check and len(arguments) != 1:
        sys.stderr.write("usage: python -m speaker.bgp.exabgp.launcher [--check] CONFIG\n")
        return 2
    config_file = os.path.abspath(arguments[-1])
    if not os.path.isfile(config_file):
        sys.stderr.write(f"{config_file}: no such file; the agent writes it from the gateway's plan\n")
        return 1
    prepare(os.environ)
    without_dns()

    from speaker.bgp.exabgp import symbols

    try:
        symbols.verify()
    except symbols.Unsupported as error:
        sys.stderr.write(f"{error}\n")
        return 1
    os.environ[VERSION] = symbols.VERSION
    wrong = check(config_file)
    if wrong:
        sys.stderr.write(f"{config_file}: {wrong}\n")
        return 1
    return 0 if only_check else run(config_file)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
