"""Chromium without a window, for whoever drives a page: the demo's reader, the tests, the viewer's benchmark."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a development dependency: without it the story is read by a program
    from selenium.webdriver import Chrome

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ALONE = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-default-apps", "--no-first-run", "--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost",
)  # fmt: skip
"""It reaches this machine only, and asks nobody for anything that the page did not ask for."""

_WEBGL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
_NO_WEBGL = ("--disable-gpu", "--disable-software-rasterizer")
"""Drawing without a graphics card is the dearest thing a browser does; only the viewer needs it."""


def find_chromium() -> tuple[str, str] | None:
    """Return the paths of Chromium and of its driver, if both are here and can be driven."""
    chromium = next((path for name in _NAMES if (path := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    return (chromium, driver) if chromium and driver and find_spec("selenium") else None


def open_chromium(
    found: tuple[str, str], *flags: str, webgl: bool = False, width: int = 0, log: dict[str, str] | None = None
) -> "Chrome":
    """Start a browser that whoever called must quit.

    Args:
        found: What `find_chromium` returned.
        flags: Added to those that every such browser has.
        webgl: Whether pages may draw in three dimensions, which is done in software.
        width: Show pages as a device of so many points does; 0 for a window.
        log: What `get_log` will have, and from which severity on.
    """
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location, driver = found
    for flag in (*_ALONE, *(_WEBGL if webgl else _NO_WEBGL), *flags):
        options.add_argument(flag)
    if width:
        metrics: dict[str, Any] = {"width": width, "height": 900, "pixelRatio": 1}
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
    if log:
        options.set_capability("goog:loggingPrefs", log)
    with _without_proxy():
        return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


@contextmanager
def _without_proxy() -> Iterator[None]:
    """The driver listens on this machine, where a proxy has no business; selenium takes the caller's at the moment of connecting."""
    before = os.environ.get("no_proxy")
    os.environ["no_proxy"] = "*"
    try:
        yield
    finally:
        del os.environ["no_proxy"]
        if before is not None:
            os.environ["no_proxy"] = before
