"""A store on any S3 service, through the `minio` client: path-style, no conditional writes needed."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import InvalidResponseError, S3Error, ServerError

from robxfer_core.settings import Settings

from .store import PIECE, Check, Missing, Stored, Unavailable, check_name, pieces_of, unchecked

PART = 16 << 20  # bytes of a part of a multipart upload
STREAM_PART = 8 << 20  # the same where the length is not known: some of them are held, and there are at most 10,000
GONE = ("NoSuchKey", "NoSuchObject", "NotFound")


@contextmanager
def _answering() -> Iterator[None]:
    """Tell a service that is out of reach, or out of order, from one that refuses."""
    try:
        yield
    except (urllib3.exceptions.HTTPError, ServerError) as error:
        raise Unavailable(f"the S3 service does not answer: {error}") from error
    except (S3Error, InvalidResponseError) as error:  # the latter: a page of whatever stands before the service
        if (error.response.status if isinstance(error, S3Error) else error._code) < 500:
            raise
        raise Unavailable(f"the S3 service is out of order: {error}") from error


class S3Store:
    """Objects of one bucket below a prefix.

    Links are signed for the endpoint that clients reach, without asking it; where none is named, there are none.
    """

    def __init__(self, bucket: str, prefix: str, settings: Settings) -> None:
        self.bucket = bucket
        self.prefix = f"{check_name(prefix)}/" if prefix else ""
        self.client = _client(settings, settings.s3_endpoint, settings.s3_secure)
        secure = settings.s3_secure if settings.s3_public_secure is None else settings.s3_public_secure
        public = settings.s3_public_endpoint
        self.public = _client(settings, public, secure) if public else None

    def _key(self, name: str) -> str:
        return self.prefix + check_name(name)

    def put(self, name: str, path: Path, check: Check = unchecked) -> None:
        self._put(name, pieces_of(path, check), path.stat().st_size, PART)

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        self._put(name, pieces, -1, STREAM_PART)

    @_answering()
    def _put(self, name: str, pieces: Iterable[bytes], length: int, part: int) -> None:
        reader: Any = _Reader(pieces)  # of a file, the client only reads
        # One part at a time: of several at once, the client's threads would live on where a piece raises.
        self.client.put_object(
            self.bucket, self._key(name), reader, length=length, part_size=part, num_parallel_uploads=1
        )

    @_answering()
    def stream(self, name: str) -> Iterator[bytes]:
        try:
            answer = self.client.get_object(self.bucket, self._key(name))
        except S3Error as error:
            if error.code in GONE:
                raise Missing(name) from error
            raise

        def pieces() -> Iterator[bytes]:
            try:
                with _answering():
                    yield from answer.stream(PIECE)
            finally:
                answer.close()
                answer.release_conn()

        return pieces()

    def make_bucket(self) -> bool:
        """Make the bucket; False where it is there."""
        if self.client.bucket_exists(self.bucket):
            return False
        self.client.make_bucket(self.bucket)
        return True

    def sign(self, name: str, filename: str, seconds: int) -> str | None:
        if self.public is None:
            return None
        disposition = f'attachment; filename="{check_name(filename)}"'
        return self.public.presigned_get_object(
            self.bucket,
            self._key(name),
            expires=timedelta(seconds=seconds),
            response_headers={"response-content-disposition": disposition},
        )

    def walk(self) -> Iterator[Stored]:
        with _answering():
            for item in self.client.list_objects(self.bucket, prefix=self.prefix, recursive=True):
                if item.object_name and item.last_modified:
                    name = item.object_name.removeprefix(self.prefix)
                    yield Stored(name, item.size or 0, item.last_modified.timestamp())

    def abandon(self, older_s: float, dry_run: bool = False) -> Iterator[str]:
        before, after = time.time() - older_s, None
        with _answering():
            while True:
                page = self.client._list_multipart_uploads(self.bucket, prefix=self.prefix, key_marker=after)
                for each in page.uploads:
                    begun = each.initiated_time
                    if begun and begun.timestamp() < before and each.object_name.startswith(self.prefix):
                        if not dry_run:
                            self.client._abort_multipart_upload(self.bucket, each.object_name, each.upload_id or "")
                        yield each.object_name.removeprefix(self.prefix)
                after = page.next_key_marker
                if not (page.is_truncated and after):
                    return

    @_answering()
    def delete(self, prefix: str) -> None:
        found = self.client.list_objects(self.bucket, prefix=self._key(prefix) + "/", recursive=True)
        doomed = (DeleteObject(item.object_name) for item in found if item.object_name)
        for error in self.client.remove_objects(self.bucket, doomed):
            raise OSError(f"{error.name} could not be removed: {error.code} {error.message}")


class _Reader:
    """Pieces as a file to read."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = b""

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        if not self._held:
            self._held = next(filter(None, self._pieces), b"")
        piece, self._held = self._held[:size], self._held[size:]
        return piece


def _client(settings: Settings, endpoint: str, secure: bool) -> Minio:
    # Naming the region keeps the client from asking the endpoint for it, which for the public one may be out of reach.
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=5, read=60),
        retries=urllib3.Retry(total=4, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504)),
    )
    return Minio(
        endpoint,
        access_key=settings.s3_access_key or None,
        secret_key=settings.s3_secret_key.get_secret_value() or None,
        secure=secure,
        region=settings.s3_region,
        http_client=pool,
    )
