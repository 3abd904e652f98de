"""`acinus-centre relay run`: keeps HAProxy and the tunnel server running, and lets both follow the registry's list of sites."""

import json
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from protocol.codes import Code
from protocol.errors import FederationError, RefusedError, UnavailableError
from server.family import adopt_orphans, end_all, reap_adopted, start_child
from server.files import unwritable
from server.parts import is_running, only_supervisor
from server.registry import Registry
from server.relay.door import follow
from server.relay.files import HAPROXY, SSHD, STOCK, routes_in, stock_program, write_config, write_plan
from server.relay.plan import Plan, Route, plan_of
from server.relay.tunnels import cut, open_ports
from server.roster import REFRESH_SECONDS
from server.settings import CentreSettings

STATE_FILE = "state.json"
DOOR, TUNNELS = "haproxy", "sshd"

_LOOK_SECONDS = 0.2
_AGAIN_SECONDS = 1.0
_GRACE_SECONDS = 3.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Child:
    name: str
    process: "subprocess.Popen[bytes]"
    started: float = field(default_factory=time.monotonic)


class Relay:
    """The parent of the relay's two programs.

    Args:
        settings: The centre's.
        registry: Who says which sites there are.
    """

    def __init__(self, settings: CentreSettings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._folder = write_config(settings)
        self._children: dict[str, _Child] = {}
        self._plan: Plan | None = None
        self._routes = routes_in(self._folder)
        self._asked = float("-inf")
        self._shown = ""

    def run(self, stop: threading.Event) -> None:
        """Run both programs until `stop` is set; then both have ended.

        Raises:
            ConflictError: `already-exists` if a relay runs in this home.
            RefusedError: `forbidden` as root.
            UnavailableError: `port-taken`, `node-fault` if a program is not installed.
        """
        refuse_root()
        with only_supervisor(self._folder):
            refuse_taken_ports(self._settings)
            adopt_orphans()  # a tunnel outlives the server that let it in
            try:
                self._ask()  # before the door opens, so that nobody of an old list comes in; or is cut when the registry answers
                for name in (TUNNELS, DOOR):
                    self._start(name)
                while not stop.wait(_LOOK_SECONDS):
                    self._step()
            finally:
                end_all([child.process for child in self._children.values()], grace_seconds=_GRACE_SECONDS)
                (self._folder / STATE_FILE).unlink(missing_ok=True)

    def _step(self) -> None:
        """Look at both programs, and at the list of sites when it is time."""
        for child in list(self._children.values()):
            if child.process.poll() is not None and time.monotonic() - child.started > _AGAIN_SECONDS:
                log.warning("relay.died", extra={"part": child.name, "exit_code": child.process.returncode})
                self._start(child.name)
        if time.monotonic() - self._asked >= REFRESH_SECONDS:
            self._ask()
        reap_adopted({child.process.pid for child in self._children.values()})
        self._show()

    def _start(self, name: str) -> None:
        """Start one of the two. A door that starts anew reads the list that was written last."""
        log_file = self._settings.logs / f"relay-{name}.log"
        environment = {"PATH": os.environ.get("PATH", os.defpath)}
        command = self._command(name)
        try:
            process = start_child(command, environment=environment, log=log_file, folder=self._folder)
        except OSError as error:
            raise unwritable(log_file, error) from error
        self._children[name] = _Child(name, process)
        log.info("relay.started", extra={"part": name, "pid": process.pid})

    def _command(self, name: str) -> list[str]:
        if name == DOOR:
            return [stock_program(name, STOCK[name]), "-db", "-f", HAPROXY]
        return [stock_program(name, STOCK[name]), "-D", "-e", "-f", str(self._folder / SSHD)]

    def _ask(self) -> None:
        """Ask the registry who is enrolled, and follow it. While it does not answer, what was known stands: hospitals judge each reader."""
        self._asked = time.monotonic()
        try:
            plan = plan_of(self._registry.sites())
            if plan != self._plan:
                self._follow(plan)
        except FederationError as error:
            log.warning("relay.not-refreshed", extra={"code": error.code.value})

    def _follow(self, plan: Plan) -> None:
        """Let keys and names follow the plan, and end the tunnels of whoever is no longer in it."""
        write_plan(self._folder, plan)
        if DOOR in self._children:
            follow(self._folder, plan)
        if TUNNELS in self._children:
            for route in _gone(self._routes, plan):
                ended = cut(route.port)
                log.info("relay.route-ended", extra={"site": route.site, "cut": ended})
        self._plan, self._routes = plan, plan.routes
        log.info("relay.routes", extra={"count": len(plan.routes), "unrouted": len(plan.unrouted)})

    def _show(self) -> None:
        """Write down how the tunnels are, for `status`, when it has changed."""
        plan = self._plan or Plan()
        listening = open_ports({route.port for route in plan.routes})
        state = {
            "parts": {name: child.process.poll() is None for name, child in self._children.items()},
            "sites": {route.site: route.port in listening for route in plan.routes},
            "unrouted": plan.unrouted,
        }
        text = json.dumps(state)
        if text != self._shown:
            draft = self._folder / f".{STATE_FILE}.part"
            draft.write_text(text, encoding="utf-8")
            draft.replace(self._folder / STATE_FILE)
            self._shown = text


def relay_state(settings: CentreSettings) -> dict[str, object] | None:
    """Return how the relay is, for `status`: its parts, each site's tunnel, and why sites have none; None where no relay runs."""
    folder = settings.within(settings.relay.directory)
    if not is_running(folder):
        return None
    try:
        state: dict[str, object] = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return state


def refuse_root() -> None:
    """Check that the relay has no more rights than it needs: whoever came through either program would have them too.

    Raises:
        RefusedError: `forbidden`.
    """
    if os.geteuid() == 0:
        raise RefusedError(
            Code.FORBIDDEN,
            "The relay does not run as root. Give it an account of its own and the right to listen on port 443: docs/how-to/relay.md.",
        )


def refuse_taken_ports(settings: CentreSettings) -> None:
    """Check that both ports can be listened on; what a relay that was killed has left behind is gone in a moment.

    Raises:
        RefusedError: `forbidden` if the account may not listen on so low a port.
        UnavailableError: `port-taken`.
    """
    relay = settings.relay
    for host, port, key in ((relay.host, relay.port, "port"), ("127.0.0.1", relay.tunnel_port, "tunnel_port")):
        deadline = time.monotonic() + _GRACE_SECONDS
        while not _can_listen(host, port):
            if time.monotonic() >= deadline:
                raise UnavailableError(
                    Code.PORT_TAKEN,
                    f"Another program listens on {host}:{port}. Stop it, or set another [relay] {key} in centre.toml.",
                )
            time.sleep(_LOOK_SECONDS)


def _can_listen(host: str, port: int) -> bool:
    """Say whether a port is free.

    Raises:
        RefusedError: `forbidden` if the account may not listen on so low a port.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError as error:
            raise RefusedError(
                Code.FORBIDDEN,
                f"This account may not listen on port {port}. Give it CAP_NET_BIND_SERVICE: docs/how-to/relay.md.",
            ) from error
        except OSError:
            return False
    return True


def until_signalled() -> threading.Event:
    """Return an event that SIGINT and SIGTERM set."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _gone(before: Sequence[Route], now: Plan) -> list[Route]:
    """Return the routes that ended: of sites that were shut out, or that have another key or name now."""
    return [route for route in before if route not in now.routes]
