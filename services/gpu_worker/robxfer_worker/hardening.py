"""What a worker keeps from its children, who run as the same user: its environment and its memory."""

import ctypes
import os
import sys

PR_SET_DUMPABLE = 4  # <linux/prctl.h>


def keep_private() -> None:
    """From here on this process's /proc files are root's, and nobody else may trace it or read its memory.

    What it starts by exec is not covered, nor are files that the user may read; root may read all. Linux's alone;
    elsewhere nothing is done. Raises OSError.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
