"""Bring the message catalogues of the registry's pages up to date: `python -m deploy.catalogues`.

Each catalogue (`registry_api/pages/locale/*/LC_MESSAGES/registry.po`) gets every message that templates and pages use, in their order; a new one
comes without a translation, one that nobody uses any more goes. Then GNU gettext's `msgfmt` compiles it to the `.mo` that the pages read.
A test fails when a message has no translation or the two files differ.
"""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from jinja2 import Environment

PAGES = Path(__file__).resolve().parents[1] / "registry_api" / "pages"
_HEAD = (
    'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n"Content-Transfer-Encoding: 8bit\\n"\n'
    '"Language: {language}\\n"\n"MIME-Version: 1.0\\n"\n'
)
_ENTRY = re.compile(r'^msgid ((?:".*"\n)+)msgstr ((?:".*"\n)+)', re.MULTILINE)


def main() -> None:
    """Write every catalogue and compile it."""
    for path in catalogues():
        known = read(path)
        path.write_text(written(path.parts[-3], {message: known.get(message, "") for message in messages()}), "utf-8")
        done = subprocess.run(["msgfmt", "--check-format", "-o", path.with_suffix(".mo"), path], check=False)
        missing = [message for message in messages() if not known.get(message)]
        print(f"{path.parts[-3]}: {len(messages())} messages, {len(missing)} without a translation")
        if done.returncode:
            sys.exit(done.returncode)


def catalogues() -> list[Path]:
    """Return the catalogue of every language but that of the messages themselves."""
    return sorted(PAGES.glob("locale/*/LC_MESSAGES/registry.po"))


def messages() -> list[str]:
    """Return every message that templates and pages use, each once, in the order of the files."""
    found = [message for path in sorted(PAGES.glob("templates/*.html")) for message in _of_template(path)]
    found += [message for path in sorted(PAGES.rglob("*.py")) for message in _of_module(path)]
    return list(dict.fromkeys(found))


def _of_template(path: Path) -> Iterator[str]:
    environment = Environment(autoescape=True, extensions=["jinja2.ext.i18n"], trim_blocks=True, lstrip_blocks=True)
    extension = environment.extensions["jinja2.ext.InternationalizationExtension"]
    extract = cast("Any", extension)._extract  # noqa: SLF001 — what `pybabel extract` calls
    for _line, _function, message in extract(path.read_text(encoding="utf-8")):
        yield from [message] if isinstance(message, str) else [one for one in message if one]


def _of_module(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
            yield str(ast.literal_eval(node.args[0]))


def read(path: Path) -> dict[str, str]:
    """Return a catalogue's messages with their translations, without its head."""
    pairs = (tuple(_joined(part) for part in entry) for entry in _ENTRY.findall(path.read_text(encoding="utf-8")))
    return {message: translation for message, translation in pairs if message}


def _joined(lines: str) -> str:
    """Return the text of quoted lines; their escapes are those of JSON."""
    return "".join(json.loads(line) for line in lines.splitlines())


def written(language: str, translations: dict[str, str]) -> str:
    """Return a catalogue as text, a message to a line."""
    entries = (f"msgid {_quoted(one)}\nmsgstr {_quoted(other)}\n" for one, other in translations.items())
    return "\n".join([_HEAD.format(language=language), *entries])


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


if __name__ == "__main__":
    main()
