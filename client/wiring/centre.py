"""How the parts that speak to the centre are wired: link and forwarder, SuperNode, runner, tunnel."""

import asyncio
import logging
import ssl
import sys
import threading
from pathlib import Path

from client.gate.keys import GATEWAY_CA, INSIDE_CERTIFICATE, INSIDE_KEY, SUPEREXEC_SECRET, SUPERNODE_KEY
from client.gate.policy import judge_bundle
from client.gate.trust import client_context, load_centre, load_identity
from client.rooms.border import open_contact, open_gate, open_inbox, open_renewals, policy_source, tunnel_ends, utc_now
from client.rooms.reading import open_privileges
from client.rooms.training import open_evaluator, open_secure_trainer, open_trainer
from client.settings import NodeSettings
from client.wiring.notices import notice_receivers
from protocol.codes import Code
from protocol.errors import FederationError, UnavailableError

log = logging.getLogger(__name__)


def run_link(settings: NodeSettings, stop: threading.Event) -> None:
    """Run the link and the forwarder in one event loop, and the dispatcher in a thread beside it; each ends the part if it cannot go on.

    Raises:
        FederationError: Why it cannot.
    """
    from client.gate.dispatch import Dispatcher

    woken, failed = threading.Event(), list[BaseException]()

    def dispatch() -> None:
        try:
            _catch_up(settings)
            Dispatcher(open_inbox(settings), notice_receivers(settings)).run(stop, woken)
        except Exception as error:  # noqa: BLE001 - a thread that died alone would leave notices unheard that the centre counts as received; raised below
            failed.append(error)
            stop.set()

    thread = threading.Thread(target=dispatch, name="dispatcher", daemon=True)
    thread.start()
    try:
        asyncio.run(_link(settings, stop, woken))
    except ExceptionGroup as group:
        failed[:0] = sorted(group.exceptions, key=lambda error: not isinstance(error, FederationError))
    finally:
        stop.set()
        woken.set()
        thread.join(timeout=2)
    if failed:
        raise failed[0]


def _catch_up(settings: NodeSettings) -> None:
    """Send the hospital's words of its readers' privileges that a node which stopped did not send. Without them its link runs all the same."""
    try:
        open_privileges(settings).catch_up()
    except FederationError as error:
        log.error("privileges.wait", extra={"code": error.code.value})  # noqa: TRY400 - the code says it


async def _link(settings: NodeSettings, stop: threading.Event, woken: threading.Event) -> None:
    from client.gate.forward import forward
    from client.gate.link import LinkClient
    from client.gate.listing import keep_listed
    from client.gate.renew import Renewer

    centre = load_centre(settings.trust)
    ended = asyncio.Event()
    client = LinkClient(open_gate(settings).outbox, open_inbox(settings), open_contact(settings), woken=woken.set)
    renewer = Renewer(
        settings.trust, settings.keys, open_renewals(settings), clock=utc_now, renewed=client.connect_anew
    )

    async with asyncio.TaskGroup() as group:
        group.create_task(_ended_with(stop, ended))
        group.create_task(client.run(centre.link_address, lambda: load_identity(settings.trust, settings.keys), ended))
        group.create_task(renewer.run(ended))
        group.create_task(keep_listed(settings.trust, settings.keys, ended))
        group.create_task(
            forward(
                settings.flower.forward_port,
                inside=own_tls(settings.keys),
                fleet=centre.fleet_address,
                outside=lambda: client_context(settings.trust, settings.keys),
                stop=ended,
            )
        )


def own_tls(keys: Path) -> ssl.SSLContext:
    """Return the forwarder's TLS context, under a certificate of the hospital's own authority.

    Raises:
        UnavailableError: `missing-certificate`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(keys / INSIDE_CERTIFICATE, keys / INSIDE_KEY)
    except OSError as error:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE, f"{keys / INSIDE_CERTIFICATE} or its key is missing or damaged. Restore them."
        ) from error
    return context


def run_supernode(settings: NodeSettings, stop: threading.Event) -> None:
    """Keep the stock SuperNode."""
    from client.gate import supernode

    supernode.run_supernode(
        supernode_command(settings),
        home=settings.home,
        pieces=settings.pieces,
        forward_port=settings.flower.forward_port,
        key=settings.keys / SUPERNODE_KEY,
        stop=stop,
    )


def supernode_command(settings: NodeSettings) -> list[str]:
    """Return the command line of the stock SuperNode: through our forwarder, its tasks executed by our runner only.

    `-P` keeps a folder called `strategies` in the present directory out of it.
    """
    keys, flower = settings.keys, settings.flower
    return [
        sys.executable, "-P", "-m", "strategies.flower.supernode",
        "--superlink", f"127.0.0.1:{flower.forward_port}",
        "--root-certificates", str(keys / GATEWAY_CA),
        "--auth-supernode-private-key", str(keys / SUPERNODE_KEY),
        "--isolation", "process",
        "--superexec-auth-secret-file", str(keys / SUPEREXEC_SECRET),
        "--host", "127.0.0.1",
        "--port", str(flower.runtime_port),
    ]  # fmt: skip


def run_runner(settings: NodeSettings, stop: threading.Event) -> None:
    """Take tasks from the SuperNode; the app is ours, whatever bundle comes with a task."""
    from client.app import app_of_site
    from client.runner.runner import Runner
    from client.train.pace import PacedSecureTrainer, PacedTrainer
    from strategies.flower.desk import TaskDesk
    from strategies.flower.pieces import Pieces

    limit_threads(settings)
    border, policy = open_gate(settings), policy_source(settings)
    secret = _superexec_secret(settings)
    trainer = open_trainer(settings, border)
    secure = PacedSecureTrainer(open_secure_trainer(settings, trainer))
    Runner(
        lambda: TaskDesk(f"127.0.0.1:{settings.flower.runtime_port}", secret, Pieces(settings.pieces)),
        app=app_of_site(PacedTrainer(trainer), secure, open_evaluator(settings, trainer)),
        approve=lambda bundle_sha256: judge_bundle(bundle_sha256, policy()),
        record=border.audit.append,
    ).run(stop)


def _superexec_secret(settings: NodeSettings) -> bytes:
    path = settings.keys / SUPEREXEC_SECRET
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnavailableError(
            Code.MISSING_CERTIFICATE,
            f"{path} is missing. Write long random bytes into it; SuperNode and runner share them.",
        ) from error


def limit_threads(settings: NodeSettings) -> None:
    """Let torch use as many threads as the settings say; 0 leaves it to torch."""
    if settings.compute.threads:
        import torch

        torch.set_num_threads(settings.compute.threads)


def run_tunnel(settings: NodeSettings, stop: threading.Event) -> None:
    """Keep the tunnel to the relay, and look at the gateway from outside, in one event loop.

    Raises:
        UnavailableError: `missing-certificate` if enrolment pinned no relay, or the key of the tunnel is missing.
    """
    asyncio.run(_tunnel(settings, stop))


async def _tunnel(settings: NodeSettings, stop: threading.Event) -> None:
    from client.gate.keys import gateway_pin
    from client.gate.outside import look_from_outside
    from client.gate.ssh import write_config
    from client.gate.tunnel import Tunnel, TunnelBook, watch_outside

    book, ended = TunnelBook(settings.home, utc_now), asyncio.Event()
    tunnel = Tunnel(lambda: write_config(settings.home / "tunnel", tunnel_ends(settings)), book)
    minutes, origin = settings.relay.check_minutes, settings.gateway.origin
    tasks = [
        asyncio.create_task(_ended_with(stop, ended)),
        asyncio.create_task(tunnel.run(ended)),
        asyncio.create_task(
            watch_outside(
                lambda: look_from_outside(origin, gateway_pin(settings.keys)), book, minutes=minutes, stop=ended
            )
        ),
    ]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ended_with(stop: threading.Event, ended: asyncio.Event) -> None:
    """Set `ended` when `stop` is set, which happens by a signal or in another thread."""
    while not stop.is_set():  # noqa: ASYNC110 - see above: it is no asyncio.Event
        await asyncio.sleep(0.1)
    ended.set()
