"""The embedded stack's worker: drains and ends when its standard input does, so that it never outlives the stack."""

import os
import signal
import sys
import threading

from robxfer_core.settings import Settings
from robxfer_worker.main import main


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    sys.exit(main(Settings(), ready=lambda: print("ready", flush=True)))
