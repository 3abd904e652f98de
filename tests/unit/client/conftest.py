"""For all tests of the node: `remembered`, where measuring is not what is tested."""

from tests.fakes.remembered import remembered

__all__ = ["remembered"]
