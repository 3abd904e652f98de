"""Addresses that the registry posts to. Read by the library that will open them, so that no two parsers differ on where they lead."""

import httpx

_PORT_MAX = 65_535


def https_host(address: str) -> str | None:
    """Return the host of a plain https address, None of anything else: another scheme, a user's name, a mark, a port that is none."""
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        return None
    reachable = url.port is None or 0 < url.port <= _PORT_MAX
    plain = url.scheme == "https" and not url.userinfo and not url.fragment
    return (url.host or None) if plain and reachable else None
