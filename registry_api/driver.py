"""The PostgreSQL driver (pg8000), made to ask once: by itself it asks the server three times for each statement, and has each planned anew (ADR 0181)."""

import socket
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import count
from select import POLLIN, poll
from struct import Struct
from typing import Any

from pg8000 import core, legacy
from pg8000.converters import make_params

Convert = Callable[[str, str, Any], tuple[str, Any]]

_TIMESTAMP = 1114
"""The number of `timestamp` without a zone (PostgreSQL's `pg_type.dat`)."""

_STATEMENTS = 1024
"""How many texts are remembered; the registry has some hundreds."""

_PREPARED = 256
"""How many statements each connection keeps prepared on the server: those that were used last."""

_BEGIN = "begin transaction"
"""How the driver begins a transaction."""

_SHORT, _LONG = Struct("!h").pack, Struct("!i").pack
_NO_VALUE, _AS_TEXT = _LONG(-1), _SHORT(0)


def _message(code: bytes, *parts: bytes) -> bytes:
    """Return one message to the server (PostgreSQL's manual, "Message Formats")."""
    content = b"".join(parts)
    return b"".join((code, _LONG(len(content) + 4), content))


def _bind(name: bytes, values: Sequence[bytes | None]) -> bytes:
    """Return what runs a prepared statement with these values, all of them and its answer written as text."""
    written = [_NO_VALUE if value is None else _LONG(len(value)) + value for value in values]
    bound = _message(core.BIND, b"\0", name, _AS_TEXT, _SHORT(len(values)), *written, _AS_TEXT)
    return b"".join((bound, core.EXECUTE_MSG))


def _parse(name: bytes, text: str, oids: Sequence[int] = ()) -> bytes:
    types = [_LONG(max(0, oid)) for oid in oids]
    return _message(core.PARSE, name, text.encode(), b"\0", _SHORT(len(types)), *types)


_BEGUN = _parse(b"\0", _BEGIN) + _bind(b"\0", ())


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A statement on the server, and how what it finds is read."""

    name: bytes
    columns: Any
    read: Any


class Connection(legacy.Connection):  # type: ignore[misc] # the driver has no types
    """A connection that asks once for each statement.

    The driver's own sends a statement, asks what it will find, and runs it: three exchanges, for each of which the thread waits; one more begins
    the transaction. Here all of it goes out together, the beginning of a transaction with its first statement, and a statement that was
    used before is on the server already. If the beginning fails, the server skips the rest.
    """

    def __init__(self, *where: Any, **options: Any) -> None:
        super().__init__(*where, **options)
        self._prepared: OrderedDict[tuple[str, tuple[int, ...]], _Prepared] = OrderedDict()
        self._ended: list[bytes] = []
        self._names = count()
        self._begins = False
        self.register_in_adapter(_TIMESTAMP, datetime.fromisoformat)  # so they come; the driver tries patterns on each
        with suppress(OSError):  # not a socket of TCP
            self._usock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def execute_simple(self, statement: str) -> Any:
        """Run a statement without values. The beginning of a transaction waits for what comes after it."""
        if statement == _BEGIN:
            self._begins = True
            return core.Context(statement)
        if self._begins:
            self._begins = False
            super().execute_simple(_BEGIN)
        return super().execute_simple(statement)

    def execute_unnamed(
        self, statement: str, vals: Sequence[Any] = (), oids: Sequence[int] = (), stream: Any = None
    ) -> Any:
        """Run a statement in one exchange.

        Raises:
            ValueError: For a stream, which this connection does not copy.
        """
        if stream is not None:
            raise ValueError("nothing is copied from or to a stream over this connection")
        if not vals:
            return self.execute_simple(statement)
        values = [None if one is None else one.encode() for one in make_params(self.py_types, vals)]
        key = (statement, tuple(oids))
        known = self._prepared.get(key)
        context = core.Context(statement)
        if known is None:
            name = b"acinus_%d\0" % next(self._names)
            asked = _parse(name, statement, oids) + _message(core.DESCRIBE, core.STATEMENT, name)
        else:
            name, asked = known.name, b""
            context.columns, context.input_funcs = known.columns, known.read
            context.rows = None if known.columns is None else []
        self._send(asked + _bind(name, values))
        try:
            self.handle_messages(context)
        except core.DatabaseError:
            self._end(key, name)  # it may be the statement: what it finds may have changed since
            raise
        self._keep(key, _Prepared(name, context.columns, context.input_funcs))
        return context

    def rollback(self) -> None:
        """Undo the transaction."""
        self._begins = False
        super().rollback()

    def is_gone(self) -> bool:
        """Say whether the server has closed the line, or said something of itself: between transactions it is silent until it ends."""
        if self._usock is None:
            return True
        watched = poll()
        watched.register(self._usock, POLLIN)
        return bool(watched.poll(0))

    def _send(self, asked: bytes) -> None:
        ended = b"".join(_message(core.CLOSE, core.STATEMENT, name) for name in self._ended)
        begun = _BEGUN if self._begins else b""
        self._begins = False
        self._ended.clear()
        if self._sock is None:
            raise core.InterfaceError("connection is closed")
        try:
            self._sock.write(ended + begun + asked + core.SYNC_MSG)
            self._sock.flush()
        except OSError as error:
            raise core.InterfaceError("network error") from error  # SQLAlchemy knows a lost line by these words

    def _keep(self, key: tuple[str, tuple[int, ...]], prepared: _Prepared) -> None:
        self._prepared[key] = prepared
        self._prepared.move_to_end(key)
        if len(self._prepared) > _PREPARED:
            self._ended.append(self._prepared.popitem(last=False)[1].name)

    def _end(self, key: tuple[str, tuple[int, ...]], name: bytes) -> None:
        """Have the server forget a statement, if it knows it, before the next one."""
        self._prepared.pop(key, None)
        self._ended.append(name)


def connect(_dialect: object, _record: object, where: list[Any], options: dict[str, Any]) -> Connection:
    """Open a connection for SQLAlchemy (its event `do_connect`)."""
    return Connection(*where, **options)


def quicken() -> None:
    """Let the driver remember how it writes each statement. It walks through the text letter by letter, in Python; twice changes nothing.

    The name that is replaced is the driver's own (compare ADR 0094); a test holds what stands in its place against it.
    """
    driver: Any = legacy
    if not hasattr(driver.convert_paramstyle, "remembers"):
        driver.convert_paramstyle = remembering(driver.convert_paramstyle)


def remembering(convert: Convert) -> Convert:
    """Return `convert` with its texts remembered. In the style that SQLAlchemy uses (`%s`) they do not depend on the values."""

    @lru_cache(maxsize=_STATEMENTS)
    def text_of(query: str) -> str:
        return convert("format", query, ())[0]

    def converted(style: str, query: str, args: Any) -> tuple[str, Any]:
        return (text_of(query), args) if style == "format" else convert(style, query, args)

    vars(converted)["remembers"] = True
    return converted
