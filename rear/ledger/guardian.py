"""Becomes the program it is told to run, having asked the kernel to kill it when its parent dies.

Run as `python -I -S guardian.py PARENT_PID PROGRAM [ARGUMENT ...]`. It is a program of its own because the
request has to be made in the child, and a `preexec_fn` runs Python between fork and exec, which gRPC forbids.
The request outlives `exec`. It is bound to the *thread* that started us: that thread must live on.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Bind our life to the parent's, then exec."""
    parent = int(sys.argv[1])
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # The parent may have died before the request was in place; then nobody will ever tell us.
    if os.getppid() != parent:
        raise SystemExit(1)
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
