"""The tables of the reading exchange."""

from typing import TYPE_CHECKING

from client.rooms.border import is_impersonated, open_contact, open_gate, utc_now
from client.settings import NodeSettings
from client.store.database import connect

if TYPE_CHECKING:
    from client.gateway.book import Book
    from client.gateway.keys import ReaderKeys
    from client.gateway.privileges import Privileges
    from client.gateway.reports import Reports
    from client.gateway.sessions import Sessions


def open_privileges(settings: NodeSettings) -> "Privileges":
    """Return the hospital's own word of who may read for it."""
    from client.gateway.book import Book
    from client.gateway.privileges import Privileges
    from client.gateway.tables import SCHEMA

    return Privileges(Book(connect(settings.database, SCHEMA), utc_now), open_gate(settings))


def open_reads(settings: NodeSettings) -> "tuple[Book, ReaderKeys, Sessions, Reports]":
    """Return the tables of the reading exchange, on one connection."""
    from client.gateway.book import Book
    from client.gateway.keys import ReaderKeys
    from client.gateway.reports import Reports
    from client.gateway.sessions import Sessions
    from client.gateway.tables import SCHEMA

    book = Book(connect(settings.database, SCHEMA), utc_now)
    keys = ReaderKeys(book.connection, utc_now)
    sessions = Sessions(book, keys, open_contact(settings).last_heard, lambda: is_impersonated(settings))
    return book, keys, sessions, Reports(book, open_gate(settings))
