"""Which store a URL means."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from robxfer_core.settings import Settings

from .folder import FolderStore
from .s3 import S3Store
from .store import Store


def open_store(url: str, settings: Settings) -> Store:
    """The store of a URL: `file:///FOLDER` or `s3://BUCKET/PREFIX` (endpoint and keys from the settings)."""
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return FolderStore(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc:
        return S3Store(parts.netloc, parts.path.strip("/"), settings)
    raise ValueError(f"store_url is {url!r}; takes file:///FOLDER or s3://BUCKET/PREFIX")
