"""Lets go of a study that is deleted: reports and messages go; requests and claims stay as bare ids, as the centre has them."""

import sqlite3

from client.gateway.book import Book
from client.gateway.records import OVER
from client.store.database import transaction


def is_under_way(book: Book, study_key: str) -> bool:
    """Say whether a read of a study is posted, claimed, or not yet acknowledged."""
    return any(one.study_key == study_key and one.stage not in OVER for one in book.requests())


def forget_reports(connection: sqlite3.Connection, study_key: str) -> None:
    """Delete the reports on a study, and what readers and staff wrote to each other about it.

    Raises:
        UnavailableError: `disk-full`.
    """
    with transaction(connection):
        connection.execute("DELETE FROM read_priors WHERE study_key = ?", (study_key,))
        for table in ("reports", "read_messages", "read_masks"):
            connection.execute(
                f"DELETE FROM {table} WHERE claim_id IN (SELECT claim_id FROM read_claims JOIN read_requests USING (request_id)"  # noqa: S608 - names of this module
                " WHERE study_key = ?)",
                (study_key,),
            )
