"""Looks at the hospital's gateway as a reader does, from outside: is the key there still the hospital's own?

A relay passes TLS on unopened. One that opened it would have to show a certificate of its own, whoever signed that, and its key is another.
"""

import asyncio
import ssl
from enum import StrEnum
from urllib.parse import urlsplit

from cryptography import x509

from client.gate.keys import key_pin
from client.gate.proxy import dial
from protocol.enrolment import KeyPin
from protocol.errors import FederationError
from protocol.reading import Origin

_SECONDS = 5.0
_HTTPS = 443


class Seen(StrEnum):
    """Who answers readers under the hospital's name."""

    OURS = "ours"
    ANOTHER = "another"
    NOBODY = "nobody"


async def look_from_outside(origin: Origin, pin: KeyPin) -> Seen:
    """Open TLS to the gateway under the name that readers use, and compare the key that is shown there.

    Names and authorities are not looked at: a certificate that anybody would believe is the very thing to be found.
    """
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    parts = urlsplit(origin)
    try:
        _, writer = await asyncio.wait_for(dial(parts.hostname or "", parts.port or _HTTPS, context), _SECONDS)
    except (OSError, TimeoutError, FederationError):  # ssl.SSLError is an OSError
        return Seen.NOBODY
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return Seen.OURS if key_pin(x509.load_der_x509_certificate(shown)) == pin else Seen.ANOTHER
    except ValueError:
        return Seen.ANOTHER
    finally:
        writer.close()
