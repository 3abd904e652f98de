"""Studies and what is said of them: the store, pseudonyms, releases, masks that came by a door, context."""

from typing import TYPE_CHECKING

from client.settings import NodeSettings
from client.store import tables
from client.store.context import ContextStore
from client.store.database import connect
from client.store.studies import StudyStore

if TYPE_CHECKING:
    from client.context.desk import ContextDesk
    from client.deidentify.pseudonyms import Pseudonyms
    from client.deidentify.ring import KeyRing
    from client.infer.drawn import MaskDesk
    from client.infer.releases import ReleaseShelf
    from client.infer.surroundings import Surroundings


def open_store(settings: NodeSettings) -> StudyStore:
    """Return the store of studies."""
    return StudyStore(connect(settings.database, tables.SCHEMA), settings)


def open_pseudonyms(settings: NodeSettings) -> "Pseudonyms":
    """Return the site's pseudonyms.

    Raises:
        UnavailableError: `missing-certificate` if the key file is absent, damaged or older than the database.
    """
    return open_key_ring(settings).load()


def open_key_ring(settings: NodeSettings) -> "KeyRing":
    """Return the site's pseudonym keys over time."""
    from client.deidentify.pseudonyms import KEY_FILE
    from client.deidentify.ring import KeyRing

    return KeyRing(settings.keys / KEY_FILE, connect(settings.database, tables.SCHEMA))


def open_shelf(settings: NodeSettings) -> "ReleaseShelf":
    """Return the model releases on this node."""
    from client.gate.lists import ReleaseList
    from client.infer.releases import ReleaseShelf

    return ReleaseShelf(settings.models, ReleaseList(settings.trust).holds)


def open_mask_desk(settings: NodeSettings) -> "MaskDesk":
    """Return what makes labels of masks that came by the node's doors."""
    from client.infer.drawn import MaskDesk

    return MaskDesk(open_store(settings), open_pseudonyms(settings))


def open_context(settings: NodeSettings) -> ContextStore:
    """Return what is said of studies and patients."""
    return ContextStore(connect(settings.database, tables.SCHEMA))


def open_surroundings(settings: NodeSettings) -> "Surroundings":
    """Return what lays it beside the studies."""
    from client.infer.context import Window
    from client.infer.surroundings import Surroundings

    window = Window(before=settings.context.pcr_days_before, after=settings.context.pcr_days_after)
    return Surroundings(open_context(settings), open_pseudonyms(settings), window)


def open_context_desk(settings: NodeSettings) -> "ContextDesk":
    """Return what takes messages, files and words of the staff."""
    from client.context.desk import ContextDesk
    from client.context.messages import Dialect
    from client.context.statement import Namer
    from client.context.values import Vocabulary

    said = settings.context
    words = Vocabulary(
        pcr_codes=frozenset(said.pcr_codes),
        positive=frozenset(said.positive_words),
        negative=frozenset(said.negative_words),
        intensive_units=frozenset(said.intensive_units),
    )
    return ContextDesk(
        open_context(settings),
        Namer(open_pseudonyms(settings), frozenset(said.own_issuers)),
        Dialect(words, said.accession_fields, said.keep_question),
    )
