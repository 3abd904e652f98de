"""How a step of the story says that it did not hold."""

from pathlib import Path


class StepFailed(Exception):  # noqa: N818 - said of a step, as the report says it
    """What did not hold, and where to look."""

    def __init__(self, what: str, where: Path | str) -> None:
        super().__init__(what)
        self.what = what
        self.where = str(where)


def expect(held: object, what: str, where: Path | str) -> None:
    """Go on if `held` is true.

    Raises:
        StepFailed: With `what` did not hold and `where` to look.
    """
    if not held:
        raise StepFailed(what, where)
