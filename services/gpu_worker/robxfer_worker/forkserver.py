"""A server that has torch loaded and forks a child for each attempt in milliseconds.

It starts with the worker, from an environment of the names KEPT alone, so no child ever sees a secret. It
has one thread, never touches CUDA and never computes. Beside each child it keeps two descriptors: the child's end of
the channel goes to the child; on the other it writes the child's process id and, when the child has ended, its status.
It kills what is left of a child's process group before it reaps the child, while the id cannot be anyone else's.
When the worker is gone (its end of the control socket closes), it kills every child and ends.
"""

import contextlib
import gc
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from importlib import import_module
from typing import NoReturn

KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_DEVICE_ORDER")
STOP_S = 2.0
PRELOADED = (
    "torch._dynamo",  # which torch.optim imports at its first step, in seconds
    "robxfer_worker.child",
    "robxfer_core.science.training.train",
    "robxfer_core.science.attacks.evaluate",
    "robxfer_core.science.construct.perturb",
    "robxfer_core.science.transfer.job",
    "robxfer_core.science.data.read",
)


class Child:
    """A running child: its process (and group) id, the channel to it, and the descriptor that tells of its end."""

    def __init__(self, channel: socket.socket, status: int) -> None:
        self.channel = channel
        self.status = status
        line = _line(status)
        if not line.startswith("pid "):
            self.close()
            raise OSError(f"no child could be started: {line or 'the fork server is gone'}")
        self.pid = int(line.removeprefix("pid "))
        self.deaf = False
        """Whether the child has closed its end of the channel."""
        self._ended = False
        self._lock = threading.Lock()
        channel.setblocking(False)

    def hear(self) -> bytes:
        """What the child has said since, without waiting; empty if nothing."""
        if self.deaf:
            return b""
        try:
            piece = self.channel.recv(1 << 16)
        except BlockingIOError:
            return b""
        except ConnectionResetError:
            piece = b""
        self.deaf = not piece
        return piece

    def kill(self, signum: int, group: bool) -> None:
        """Send a signal to the child, or to its whole process group; nothing if it has ended."""
        with self._lock, contextlib.suppress(ProcessLookupError):
            if not self._ended:
                (os.killpg if group else os.kill)(self.pid, signum)

    def wait(self) -> int:
        """The exit code of a child that ended, or minus the signal that ended it."""
        line = _line(self.status)
        with self._lock:
            self._ended = True
        return int(line) if line else -signal.SIGKILL  # no line: the fork server died, and with it its children

    def close(self) -> None:
        """Close both descriptors. A child that still runs kills itself when its channel closes."""
        self.channel.close()
        os.close(self.status)


class ForkServer:
    """The worker's handle on the server process; starts it anew if it died."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start(self) -> None:
        """Start the server if it does not run. Returns at once; the modules are loaded behind its back."""
        with self._lock:
            self._running()

    def _running(self) -> socket.socket:
        if self._process is not None and self._process.poll() is None and self._control is not None:
            return self._control
        if self._control is not None:
            self._control.close()
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-u", "-m", __name__, str(theirs.fileno()), str(self.threads)],
                env={name: os.environ[name] for name in KEPT if name in os.environ},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # the terminal's Ctrl-C is for the worker
            )
        return self._control

    def child(self) -> Child:
        """Fork a child, which waits on its channel for the path of a job file. Raises OSError."""
        channel, theirs = socket.socketpair()
        status, told = os.pipe()
        try:
            with theirs, self._lock:
                socket.send_fds(self._running(), [b"\n"], [theirs.fileno(), told])
        except OSError:
            channel.close()
            os.close(status)
            raise
        finally:
            os.close(told)
        return Child(channel, status)

    def stop(self) -> None:
        """End the server and every child that still runs."""
        with self._lock:
            if self._control is not None:
                self._control.close()
            if self._process is not None:
                try:
                    self._process.wait(STOP_S)
                except subprocess.TimeoutExpired:  # it is still loading, and has no child
                    self._process.kill()
                    self._process.wait()


def _line(fd: int) -> str:
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(fd, 1)
        if not piece:
            break
        line += piece
    return line.decode().strip()


def serve(control: socket.socket) -> None:
    """Fork a child for each message on the control socket until that closes. Needs the main thread."""
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler of Python's own, so that the descriptor is written to
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    told: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if woken in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 4096)
            _reap(told)
        if control in ready:
            message, fds, _, _ = socket.recv_fds(control, 1, 2)
            if not message:
                break
            _fork(fds[0], fds[1], told, [control.fileno(), woken, wake])
    for pid in told:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _fork(channel: int, status: int, told: dict[int, int], ours: list[int]) -> None:
    try:
        pid = os.fork()
    except OSError as error:
        os.write(status, f"{error}\n".encode())
        os.close(channel)
        os.close(status)
        return
    if pid == 0:
        _become_child(channel, status, [*ours, *told.values()])
    told[pid] = status
    os.close(channel)


def _become_child(channel: int, status: int, others: list[int]) -> NoReturn:
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        for signum in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.SIG_DFL)
        os.setsid()
        os.write(status, f"pid {os.getpid()}\n".encode())  # said by the child, so that whoever reads it finds the group
        for fd in (*others, status):
            os.close(fd)
        from . import child

        code = child.main(socket.socket(fileno=channel))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)  # no interpreter teardown: there is nothing to clean up, and with torch it takes long


def _reap(told: dict[int, int]) -> None:
    while told:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(ended.si_pid, signal.SIGKILL)
        _, status = os.waitpid(ended.si_pid, 0)
        fd = told.pop(ended.si_pid, None)
        if fd is not None:
            with contextlib.suppress(BrokenPipeError):  # the supervisor gave up on the child
                os.write(fd, f"{os.waitstatus_to_exitcode(status)}\n".encode())
            os.close(fd)


def main() -> None:
    """`python -P -m robxfer_worker.forkserver CONTROL_FD THREADS`: preload, then serve."""
    control = socket.socket(fileno=int(sys.argv[1]))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = sys.argv[2]
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # so that a module that asks for CUDA as it loads leaves it alone
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    for name in PRELOADED:
        import_module(name)
    gc.collect()
    gc.freeze()  # or every child's collections would copy the pages of what is loaded
    serve(control)
    os._exit(0)  # tearing torch down takes long


if __name__ == "__main__":
    main()
