"""Opening a store by its URL."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from robxfer_core.settings import Settings

from .folder import FolderStore
from .s3 import S3Store
from .store import Store


def open_store(url: str, settings: Settings) -> Store:
    """Open the store of a URL.

    Args:
        url: `file:///FOLDER` or `s3://BUCKET/PREFIX`.
        settings: Endpoint and keys of the S3 service.

    Raises:
        ValueError: The URL is of another form.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return FolderStore(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc:
        return S3Store(parts.netloc, parts.path.strip("/"), settings)
    raise ValueError(f"store_url is {url!r}; takes file:///FOLDER or s3://BUCKET/PREFIX")
