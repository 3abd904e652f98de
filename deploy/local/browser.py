"""A reader's browser: headless Chromium that can reach this machine only and trusts one hospital's certificate and no other."""

import base64
import hashlib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_der_x509_certificate

from deploy.local.chromium import open_chromium
from deploy.local.failures import StepFailed
from deploy.local.reader import Hospital, Report

if TYPE_CHECKING:  # a development dependency: without it the story is read by a program
    from selenium.webdriver import Chrome

_PATIENCE_SECONDS = 90
_WINDOW = "1600,1290"
_TWO_FRAMES = "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"
_NO_CODE = "no-answer"


@contextmanager
def reading_browser(found: tuple[str, str], hospital: Hospital, folder: Path) -> Iterator["Browser"]:
    """Open a browser whose profile, and so the reader's key, lies in `folder`; it is closed at the end."""
    trusted = f"--ignore-certificate-errors-spki-list={pin(hospital)}"
    chrome = open_chromium(
        found, trusted, f"--window-size={_WINDOW}", f"--user-data-dir={folder / 'profile'}", webgl=True
    )
    try:
        chrome.set_page_load_timeout(_PATIENCE_SECONDS)
        yield Browser(chrome, hospital.gateway, folder / "viewer.png")
    finally:
        chrome.quit()


def pin(hospital: Hospital) -> str:
    """Return the SHA-256 of the public key (RFC 7469 section 2.4) that the gateway shows under the hospital's CA.

    Raises:
        ssl.SSLError: If what it shows is not signed by that CA.
    """
    address = urlsplit(hospital.gateway)
    host, port = str(address.hostname), int(address.port or 443)
    trust = ssl.create_default_context(cafile=str(hospital.ca))
    with socket.create_connection((host, port), timeout=10) as raw, trust.wrap_socket(raw, server_hostname=host) as tls:
        certificate = load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")
    public = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(public).digest()).decode()


class Browser:
    """The hospital's pages as a person uses them."""

    def __init__(self, chrome: "Chrome", gateway: str, screenshot: Path) -> None:
        self._chrome = chrome
        self._gateway = gateway
        self._screenshot = screenshot
        chrome.get(f"{gateway}/reader")
        self._await("document.getElementById('thumbprint').textContent.length === 43")
        self._thumbprint = self._text("thumbprint")

    @property
    def thumbprint(self) -> str:
        """The thumbprint of the key that this browser made and cannot give away."""
        return self._thumbprint

    def open(self, token: str) -> str:
        """Follow the link that brings the grant. The page's message ends with the code in brackets if it is refused."""
        self._chrome.get("about:blank")
        self._chrome.get(f"{self._gateway}/session#{token}")
        told = "(document.getElementById('message')?.textContent ?? '').includes('(')"
        self._await(f"location.pathname.startsWith('/view/') || {told}")
        if "/view/" in self._chrome.current_url:
            return ""
        return self._text("message").rpartition("(")[2].rstrip(")") or _NO_CODE

    def look(self, request_id: str) -> bool:
        """Wait until the viewer shows volume and overlay, and keep a picture of it."""
        self._await("['shown', 'failed'].includes(document.getElementById('desk')?.dataset.state)")
        self._point_at_lung()
        self._picture()
        shown = self._chrome.execute_script("return document.getElementById('desk').dataset.state")
        return shown == "shown" and self._chrome.current_url.endswith(f"/view/{request_id}")

    def hand_in(self, claim_id: str, report: Report) -> str:
        """Fill in the form, send it, and return the hash that the page shows."""
        self._await(f"document.getElementById('desk').dataset.claim === '{claim_id}'")
        self._fill(report)
        self._picture()
        self._click("#submit")
        self._await("!document.getElementById('kept').hidden")
        return self._text("sha256")

    def _fill(self, report: Report) -> None:
        for name in ("corads", "pcr"):
            self._click(f"select[name={name}] option[value='{report[name]}']")
        self._click(f"input[name=rsna_class][value={report['rsna_class']}]")
        for side, zones in report["zones"].items():
            for third, points in zones.items():
                self._type(f"input[name='{side}.{third}']", str(points))
        self._click(f"input[name=agrees][value={'yes' if report['measurement']['agrees'] else 'no'}]")
        self._type("textarea[name=impression]", report["impression"])

    def _point_at_lung(self) -> None:
        """Click into the right lung of the axial slice, so that the other two planes go through lung and not through the spine."""
        from selenium.webdriver import ActionChains

        canvas = self._chrome.find_element("id", "canvas")
        beside = round(-0.34 * canvas.size["width"])
        ActionChains(self._chrome).move_to_element_with_offset(canvas, beside, 0).click().perform()

    def _picture(self) -> None:
        self._chrome.execute_async_script(_TWO_FRAMES)
        self._chrome.save_screenshot(str(self._screenshot))

    def _click(self, selector: str) -> None:
        self._chrome.find_element("css selector", selector).click()

    def _type(self, selector: str, text: str) -> None:
        self._chrome.find_element("css selector", selector).send_keys(text)

    def _text(self, id_: str) -> str:
        return str(self._chrome.find_element("id", id_).text)

    def _await(self, script: str) -> None:
        from selenium.common.exceptions import TimeoutException
        from selenium.webdriver.support.ui import WebDriverWait

        try:
            WebDriverWait(self._chrome, _PATIENCE_SECONDS).until(
                lambda chrome: chrome.execute_script(f"return Boolean({script})")
            )
        except TimeoutException:
            raise StepFailed(
                f"the reader's browser waited {_PATIENCE_SECONDS} s for: {script}", self._screenshot.parent
            ) from None
