"""Lets go of a study that is deleted: reports and messages go; requests and claims stay as bare ids, as the centre has them."""

from client.gateway.book import Book
from client.store.database import transaction


def forget_reports(book: Book, study_key: str) -> None:
    """Delete the reports on a study, what readers and staff wrote to each other about it, and what readers drew.

    Nobody is let in under its claims any more: who amends a report has a page open that would write it down again.

    Raises:
        UnavailableError: `disk-full`.
    """
    connection = book.connection
    with transaction(connection):
        connection.execute("DELETE FROM read_priors WHERE study_key = ?", (study_key,))
        connection.execute(
            "UPDATE read_claims SET ended_s = coalesce(ended_s, ?) WHERE request_id IN"
            " (SELECT request_id FROM read_requests WHERE study_key = ?)",
            (book.now_s(), study_key),
        )
        for table in ("reports", "read_messages", "read_masks", "read_strokes"):
            connection.execute(
                f"DELETE FROM {table} WHERE claim_id IN (SELECT claim_id FROM read_claims JOIN read_requests USING (request_id)"  # noqa: S608 - names of this module
                " WHERE study_key = ?)",
                (study_key,),
            )
