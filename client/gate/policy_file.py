"""Reads the site's policy from its TOML file; read anew for each decision, so that an edit takes effect at once."""

import tomllib
from pathlib import Path

from pydantic import ValidationError

from client.gate.policy import SitePolicy
from protocol.codes import Code
from protocol.errors import InvalidInputError


def load_policy(path: Path) -> SitePolicy:
    """Return the policy in `path`.

    Raises:
        InvalidInputError: `bad-setting` if the file is missing, not TOML, or a key is unknown or out of range.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InvalidInputError(
            Code.BAD_SETTING, f"{path} is missing. Without a policy nothing leaves; restore the file or run init anew."
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(Code.BAD_SETTING, f"{path} is not TOML: {error}. Correct it.") from error
    return parse_policy(text, subject=str(path))


def parse_policy(text: str, *, subject: str) -> SitePolicy:
    """Return the policy that `text` is.

    Args:
        text: TOML.
        subject: Where it stands, as a message begins.

    Raises:
        InvalidInputError: `bad-setting` if it is not TOML, or a key is unknown or out of range.
    """
    try:
        return SitePolicy.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidInputError(Code.BAD_SETTING, f"{subject} is not TOML: {error}. Correct it.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInputError(Code.BAD_SETTING, f"{subject}: {where}: {first['msg']}. Correct it.") from error
