"""The bell: a Celery message that says "look at this queue". It names no job, so a lost or doubled one does no harm."""

import logging
import os
import uuid
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from celery import Celery
from kombu.transport import filesystem
from kombu.utils.encoding import str_to_bytes
from kombu.utils.json import dumps

from .settings import Settings

log = logging.getLogger(__name__)

TASK = "work"
EXPIRES = 60  # seconds after which a message means nothing: the sweep has rung since
PATIENCE = 2  # seconds that ringing may wait for the broker
LOOK = 0.5  # seconds after which the filesystem broker's consumer looks up from its folder
POLL = 0.05  # seconds between looks at the folder, for the filesystem broker
PENDING = 8  # messages a queue of the filesystem broker holds before further ones are dropped: it is ringing already


def notify(settings: Settings, queues: list[str]) -> None:
    """Wake a free slot for each of the queues. Best effort: a broker that is down is logged and costs seconds."""
    app = _notifier(settings.broker_url)
    for queue in queues:
        try:
            app.send_task(
                TASK,
                args=[queue],
                queue=wire_name(queue),
                expires=EXPIRES,
                expiration=EXPIRES,
                retry=False,
                ignore_result=True,
            )
        except Exception as error:
            log.warning("the bell for %s could not be rung: %s", queue, error)
            return


def wire_name(queue: str) -> str:
    """The name of a queue on the broker, which other applications may share."""
    return f"robxfer.{queue}"


@cache
def _notifier(url: str) -> Celery:
    # Celery asks for a broker for ever unless told otherwise (celery #4296).
    quick = {"max_retries": 0, "interval_start": 0, "connect_retries_timeout": PATIENCE}
    if url.startswith("redis"):
        quick |= {"socket_connect_timeout": PATIENCE, "socket_timeout": PATIENCE}
    elif url.startswith("amqp"):
        quick |= {"read_timeout": PATIENCE, "write_timeout": PATIENCE}
    return make_app(url, quick, broker_connection_timeout=PATIENCE)


def make_app(url: str, transport: dict[str, Any] | None = None, **conf: Any) -> Celery:
    """A Celery application on the broker of a URL: no result backend, JSON alone, acknowledged early."""
    app = Celery("robxfer", set_as_current=False)
    options = dict(transport or {})
    if url.startswith("filesystem:"):
        options |= _folders(url)
        conf["broker_transport"] = "robxfer_core.messaging:Transport"
    app.conf.update(
        broker_url="filesystem://localhost//" if url.startswith("filesystem:") else url,
        broker_transport_options=options,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=url.startswith("redis"),
        worker_enable_remote_control=False,
        worker_cancel_long_running_tasks_on_connection_loss=True,  # of those acknowledged late: none. Unset, it warns
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        **conf,
    )
    return app


def _folders(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    root = Path(unquote(parts.netloc + parts.path))
    root.mkdir(parents=True, exist_ok=True)
    return {"data_folder_in": str(root), "data_folder_out": str(root), "polling_interval": POLL}


class Channel(filesystem.Channel):
    """Kombu's, without its two files that a reader may find half written, which would end its worker.

    A message appears whole; and the table of bindings is no file, since each queue has the exchange of its own name.
    """

    def get_table(self, exchange: str) -> list[filesystem.exchange_queue_t]:
        return [filesystem.exchange_queue_t(exchange, "", exchange)]

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        pass

    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:
        if self._size(queue) >= PENDING:
            return
        folder = Path(self.data_folder_out)
        aside = folder / f".{uuid.uuid4().hex}"
        aside.write_bytes(str_to_bytes(dumps(payload)))
        aside.rename(folder / f"{os.urandom(8).hex()}.{queue}.msg")


class Transport(filesystem.Transport):
    """The filesystem transport with whole messages, which lets its worker see often that it was told to end."""

    Channel = Channel

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        super().drain_events(connection, timeout=LOOK if timeout is None else min(timeout, LOOK))
