"""Runs a program that ends when the demo does: `leash.py PARENT_PID PROGRAM ARGUMENT...`.

`prctl` must be called in the child. A `preexec_fn` would do that between fork and exec of a process that has threads, where little is
safe; so this small script is started first, asks the kernel for SIGTERM on its parent's death, and becomes the program.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Put this process on the leash and replace it by the program. Nothing returns from here."""
    parent, program, *arguments = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # the parent died before the kernel knew of the wish
        sys.exit(1)
    os.execv(program, [program, *arguments])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
