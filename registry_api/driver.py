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
from struct import error as StructError
from typing import Any

from pg8000 import core, legacy
from pg8000.converters import make_params

from registry_api.database import UNASKED

Convert = Callable[[str, str, Any], tuple[str, Any]]

_TIMESTAMP = 1114
"""The number of `timestamp` without a zone (PostgreSQL's `pg_type.dat`)."""

_STATEMENTS = 1024
"""How many texts are remembered; the registry has some hundreds."""

_PREPARED = 256
"""How many statements each connection keeps prepared on the server: those that were used last."""

_BEGIN = "begin transaction"
"""How the driver begins a transaction."""

_HEAD, _LENGTH = Struct("!ci").unpack, Struct("!i").unpack_from
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


_Key = tuple[str, tuple[int, ...]]
"""A statement, and the types of its values."""


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
    used before is on the server already. If the beginning fails, the server skips the rest. A statement of whose outcome nothing is asked
    (`UNASKED`), once it is on the server, waits here for what comes after it, the commit at the latest: if it fails, the server skips that too.
    """

    def __init__(self, *where: Any, **options: Any) -> None:
        super().__init__(*where, **options)
        self._prepared: OrderedDict[_Key, _Prepared] = OrderedDict()
        self._ended: list[bytes] = []
        self._names = count()
        self._begins = False
        self.unasked = False
        """Of the next statement."""
        self._waiting: list[tuple[_Key, bytes, bytes]] = []
        self._passed_over = 0
        self.register_in_adapter(_TIMESTAMP, datetime.fromisoformat)  # so they come; the driver tries patterns on each
        with suppress(OSError):  # not a socket of TCP
            self._usock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def execute_simple(self, statement: str) -> Any:
        """Run a statement without values. The beginning of a transaction waits for what comes after it."""
        if statement == _BEGIN:
            self._begins = True
            return core.Context(statement)
        if self._waiting:
            described = _message(core.DESCRIBE, core.STATEMENT, b"\0")
            return self._ask(core.Context(statement), _parse(b"\0", statement) + described + _bind(b"\0", ()))
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
        unasked, self.unasked = self.unasked, False
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
        asked += _bind(name, values)
        if unasked and known is not None and known.columns is None:
            self._waiting.append((key, name, asked))
            self._prepared.move_to_end(key)
            return context
        try:
            self._ask(context, asked)
        except core.DatabaseError:
            self._end(key, name)  # it may be the statement: what it finds may have changed since
            raise
        self._keep(key, _Prepared(name, context.columns, context.input_funcs))
        return context

    def rollback(self) -> None:
        """Undo the transaction."""
        self._begins = False
        self._waiting.clear()
        super().rollback()

    def is_gone(self) -> bool:
        """Say whether the server has closed the line, or said something of itself: between transactions it is silent until it ends."""
        if self._usock is None:
            return True
        watched = poll()
        watched.register(self._usock, POLLIN)
        return bool(watched.poll(0))

    def handle_messages(self, context: Any) -> None:
        """Take in what comes until the server is ready for more.

        The driver's own makes each piece into bytes twice and asks again whether it is whole, though the socket's file waits for that.
        """
        read, code = self._sock.read, None
        while code != core.READY_FOR_QUERY:
            try:
                code, length = _HEAD(read(5))
                content = read(length - 4)
            except (OSError, StructError) as error:  # the second: the line ended before five bytes came
                raise core.InterfaceError("network error") from error
            if len(content) < length - 4:
                raise core.InterfaceError("network error")
            self.message_types[code](content, context)
        if context.error is not None:
            raise context.error

    def handle_DATA_ROW(self, data: bytes, context: Any) -> None:  # noqa: N802 - the driver's name
        """Read a row; the server writes UTF-8."""
        at = 2
        row: list[Any] = []
        for read in context.input_funcs:
            (length,) = _LENGTH(data, at)
            at += 4
            if length < 0:
                row.append(None)
            else:
                row.append(read(data[at : at + length].decode()))
                at += length
        context.rows.append(row)

    def handle_COMMAND_COMPLETE(self, data: bytes, context: Any) -> None:  # noqa: N802 - the driver's name
        """Note how many rows a statement changed; those of what waited before it are not its own."""
        if self._passed_over:
            self._passed_over -= 1
        else:
            super().handle_COMMAND_COMPLETE(data, context)

    def _ask(self, context: Any, asked: bytes) -> Any:
        """Send what waits, then `asked`, and take in what comes back."""
        waiting, self._waiting = self._waiting, []
        self._send(b"".join(one for _, _, one in waiting) + asked, len(waiting))
        try:
            self.handle_messages(context)
        except core.DatabaseError:
            self._passed_over = 0
            for key, name, _ in waiting:
                self._end(key, name)
            raise
        return context

    def _send(self, asked: bytes, waited: int) -> None:
        ended = b"".join(_message(core.CLOSE, core.STATEMENT, name) for name in self._ended)
        begun = _BEGUN if self._begins else b""
        self._passed_over = waited + self._begins
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


def mark(_cursor: object, _statement: str, _values: object, context: Any) -> None:
    """Tell the connection whether the next statement is `UNASKED` (SQLAlchemy's event `do_execute`)."""
    if UNASKED in context.execution_options:
        context.root_connection.connection.dbapi_connection.unasked = True


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
