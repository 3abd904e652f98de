"""Opacus's formulas of privacy accounting, without the rest of Opacus.

`import opacus` also loads its optimizers, and with them torch's distributed tensors and sympy: seconds in every command that adds up a
ledger, and none of it is needed for that. So its modules of accounting are loaded below packages whose `__init__` does not run. Whoever
imports Opacus itself gets the whole of it as ever, for none of this stays in `sys.modules`.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec
from types import ModuleType
from typing import Any

_OPACUS = "opacus"
_OPTIMIZERS = "opacus.optimizers"
"""The accountants name one of its types in a signature, and use nothing of it."""
_SIGNAL = "scipy.signal"
"""PRV takes one function of it, and that only where mechanisms differ; all of it takes a second to load."""


@contextmanager
def _accounting_alone() -> Iterator[None]:
    """Let the modules below `opacus.accountants` be imported without what lies beside them."""
    before = _taken_out()
    path = None
    try:
        for name in (_OPACUS, f"{_OPACUS}.accountants"):
            sys.modules[name] = package = _without_init(name, path)
            path = list(package.__path__)
        for name, members in ((_OPTIMIZERS, {"DPOptimizer": Any}), (_SIGNAL, {"convolve": _convolve})):
            sys.modules[name] = module = ModuleType(name)
            vars(module).update(members)
        yield
    finally:
        _taken_out()
        sys.modules.update(before)


def _without_init(name: str, path: list[str] | None) -> ModuleType:
    """Return an empty package that finds its modules where the real one does.

    Raises:
        ModuleNotFoundError: If Opacus is not installed.
    """
    found = PathFinder.find_spec(name, path)
    if found is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    bare = ModuleSpec(name, None, is_package=True)
    bare.submodule_search_locations = found.submodule_search_locations
    return module_from_spec(bare)


def _convolve(*pieces: Any, **options: Any) -> Any:
    from scipy.signal import convolve

    return convolve(*pieces, **options)


def _taken_out() -> dict[str, ModuleType]:
    """Remove all that is put in here from `sys.modules` and return what was there."""
    names = [name for name in sys.modules if name.partition(".")[0] == _OPACUS or name == _SIGNAL]
    return {name: sys.modules.pop(name) for name in names}


with _accounting_alone():
    rdp = import_module("opacus.accountants.analysis.rdp")
    prv = import_module("opacus.accountants.prv")

rdp._compute_rdp = lru_cache(maxsize=4096)(rdp._compute_rdp)  # type: ignore[attr-defined] # noqa: SLF001 - this copy is ours alone
"""PRV chooses its grid by RDP, four times over for one answer, each at a hundred orders between whole numbers, where a sum is slow to converge."""
