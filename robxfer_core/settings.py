"""Every setting of the services, one class: each is read from ROBXFER_<NAME>, or a file of that name with secrets."""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import DirectoryPath, Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

Seconds = Annotated[float, Field(gt=0)]
SECRETS_DIR = Path("/run/secrets")  # where compose and Kubernetes lay secrets as files


class Settings(BaseSettings):
    """What the API and the workers are told. With nothing set, all lives in `data_dir` and no server is needed."""

    model_config = SettingsConfigDict(env_prefix="ROBXFER_", extra="forbid", use_attribute_docstrings=True)

    data_dir: Path = Path("robxfer-data")
    """Folder of the embedded database, broker, store and cache; made when missing."""
    secrets_dir: DirectoryPath | None = None
    """Folder of files named as these variables in small letters (`robxfer_database_url`), for those that are not in the
    environment. Unset: `/run/secrets`, where it is there."""

    database_url: str = Field(default="", repr=False)
    """SQLAlchemy URL: `sqlite:///FILE` or `postgresql+psycopg://USER:PASSWORD@HOST/NAME`. Empty: in `data_dir`."""
    broker_url: str = Field(default="", repr=False)
    """`filesystem://FOLDER`, `redis://...` or `amqp://...`: where the bell rings. Empty: a folder in `data_dir`."""
    store_url: str = ""
    """Where artifacts are kept: `file:///FOLDER` or `s3://BUCKET/PREFIX`. Empty: a folder in `data_dir`."""

    s3_endpoint: str = "127.0.0.1:9000"
    """Host and port of the S3 service."""
    s3_access_key: str = ""
    """Access key of the S3 service."""
    s3_secret_key: SecretStr = SecretStr("")
    """Secret key of the S3 service."""
    s3_secure: bool = True
    """Speak TLS to the S3 service."""
    s3_region: str = "us-east-1"
    """Region that requests to the S3 service are signed for."""
    s3_public_endpoint: str = ""
    """Host and port under which clients reach the S3 service; they are sent there by signed links. Empty: files go
    through the API."""
    s3_public_secure: bool | None = None
    """Whether download links are https. Unset: as `s3_secure`."""

    host: str = "127.0.0.1"
    """Address on which the API listens."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port on which the API listens; 0 takes a free one."""
    access: Literal["open", "tokens"] | None = None
    """Who may use the API: `tokens`, whoever has one (`robxfer token create`); `open`, whoever is on this machine, and
    `host` must be a loopback address. Unset: `open` with SQLite on a loopback address, else `tokens`."""
    rate_per_minute: int = Field(default=1200, ge=1)
    """Requests a minute that the API takes from a token, or without one from an address, and as many at once."""
    failures_per_minute: int = Field(default=30, ge=1)
    """Requests a minute from an address with a token that does not hold, or for a change with none, before it waits."""
    proxies: Annotated[list[str], NoDecode] = []
    """Addresses of the proxies in front of the API, separated by commas: theirs is X-Forwarded-For believed."""

    max_upload_gb: float = Field(default=20.0, gt=0, le=80)
    """GB that an uploaded data set or model may have."""

    data_root: Path | None = None
    """Folder under which workers look for data sets."""
    fetch_hosts: Annotated[list[str], NoDecode] = ["huggingface.co", ".huggingface.co", ".hf.co"]
    """Hosts that `fetch` jobs may ask, separated by commas; `.example.org` stands for all within."""
    queues: Annotated[list[str], NoDecode] = Field(default=["cpu"], min_length=1)
    """Queues that a worker takes jobs from, separated by commas."""
    slots: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=1024)
    """Jobs that a worker runs at once. Unset: as many as its GPUs are enough for, without GPUs the number of cores."""
    gpus: Annotated[list[int], NoDecode] = []
    """Indices of the GPUs that a worker may use, separated by commas; empty: it computes on the CPU."""
    gpus_per_slot: int = Field(default=1, ge=1, le=8)
    """GPUs that each slot is given, taken in order from `gpus`, which must hold enough for every slot. A worker of
    more than 1 serves the queues of such jobs, `gpu2`; one without GPUs serves any, with as many processes."""
    cpu_threads: int = Field(default=1, ge=1, le=1024)
    """Threads that a job computes with. Results on the CPU are bit-identical only between equal thread counts."""
    cache_dir: Path | None = None
    """Folder in which a worker keeps copies of the artifacts it reads. Unset: a folder in `data_dir`."""
    cache_gb: float = Field(default=20.0, ge=0)
    """Size in GB above which the least used copies are dropped; those in use are never dropped."""
    work_dir: Path | None = None
    """Folder of running attempts. Unset: a folder in `data_dir`."""

    lease_s: Seconds = 30.0
    """Seconds for which a worker holds a job; renewed three times in each."""
    wanted_s: Seconds = 0.5
    """Seconds between looks at whether a running job is still wanted."""
    flush_s: Seconds = 0.5
    """Seconds for which progress, metrics and log lines are gathered before they are written."""
    grace_s: float = Field(default=20.0, ge=0)
    """Seconds that a job told to stop has to write a checkpoint before it is killed."""
    checkpoint_s: Seconds = 60.0
    """Seconds between the checkpoints of a running job."""
    sweep_s: Seconds = 2.0
    """Seconds between sweeps for expired leases and ready jobs."""
    heartbeat_s: Seconds = 5.0
    """Seconds between a worker's reports that it is alive."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, SecretsSettingsSource(settings_cls, _secrets_dir())

    @field_validator("queues", "gpus", "proxies", "fetch_hosts", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("data_dir", "data_root", "cache_dir", "work_dir")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value is not None else None

    @model_validator(mode="after")
    def _defaults(self) -> "Settings":
        home = self.data_dir.expanduser().absolute()
        self.data_dir = home
        self.database_url = self.database_url or f"sqlite:///{home}/ledger.sqlite"
        self.broker_url = self.broker_url or f"filesystem://{home}/broker"
        self.store_url = self.store_url or f"file://{home}/store"
        self.cache_dir = self.cache_dir or home / "cache"
        self.work_dir = self.work_dir or home / "work"
        local = is_loopback(self.host)
        self.access = self.access or ("open" if local and self.database_url.startswith("sqlite") else "tokens")
        if self.access == "open" and not local:
            raise ValueError(f"access is open, which takes a loopback address as host, and host is {self.host}")
        self._check_queues()
        if self.gpus:
            self._check_gpus()
        return self

    def _check_queues(self) -> None:
        each = self.gpus_per_slot if self.gpus else None
        for queue in self.queues:
            named = re.fullmatch(r"[a-z][a-z0-9_-]*?(?<!\d)([2-8]?)", queue)
            if named is None:
                takes = "a queue's name as in specs, and behind it the number of GPUs that its jobs take, if 2 to 8"
                raise ValueError(f"queues: got {queue}; takes {takes}")
            gpus = int(named[1] or 1)
            if each is not None and gpus != each:
                takes = f"names that end in {each}" if each > 1 else "names that end in no digit"
                raise ValueError(f"queues: got {queue}; takes {takes}, as a slot has {each} GPUs")

    def _check_gpus(self) -> None:
        each = self.gpus_per_slot
        if "slots" not in self.model_fields_set:
            self.slots = max(1, len(self.gpus) // each)
        if len(set(self.gpus)) < len(self.gpus):
            raise ValueError(f"gpus: got {', '.join(map(str, self.gpus))}; takes each once")
        if len(self.gpus) < self.slots * each:
            raise ValueError(f"{self.slots} slots of {each} need more GPUs than the {len(self.gpus)} given")


def _secrets_dir() -> Path | None:
    folder = Path(os.environ.get("ROBXFER_SECRETS_DIR") or SECRETS_DIR)
    return folder if folder.is_dir() else None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
