"""Random bytes that a test can have again, and count."""

import random


class CountedBytes:
    """Stands where `os.urandom` stands outside tests."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.given = 0

    def __call__(self, count: int) -> bytes:
        self.given += count
        return self._random.randbytes(count)
