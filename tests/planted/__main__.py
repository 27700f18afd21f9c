"""Runs the command `rear` with something planted in it: a bug that the checker must find, or a fault.

    python -m tests.planted PLANT[,PLANT...] REAR up ...

For `NodeProcess.launcher`. Nothing of this is in the product.
"""

from __future__ import annotations

import sys

from rear.command.main import main
from tests.planted.bugs import BUGS
from tests.planted.faults import FAULTS


def plant() -> None:
    """Plants what the first argument names, and takes it and the program's name away."""
    for entry in sys.argv[1].split(","):
        name, _, argument = entry.partition("=")
        if name in BUGS:
            BUGS[name]()
        else:
            FAULTS[name](argument)
    sys.argv[1:3] = []


if __name__ == "__main__":
    plant()
    main()
