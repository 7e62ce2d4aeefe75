"""A store on any S3 service, through the `minio` client: path-style addresses, no conditional writes."""

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

from .store import (
    CHUNK_BYTES,
    Missing,
    StopCheck,
    StoredObject,
    Unavailable,
    check_name,
    file_chunks,
    never_stop,
)

PART_BYTES = 16 << 20
"""Size of a part of a multipart upload."""
STREAM_PART_BYTES = 8 << 20
"""The same where the length is unknown. A few parts are held in memory; S3 takes at most 10,000 of them."""
MISSING_CODES = ("NoSuchKey", "NoSuchObject", "NotFound")


@contextmanager
def _unavailable_raised() -> Iterator[None]:
    """Raise Unavailable where the service cannot be reached or reports an error of its own; pass refusals on."""
    try:
        yield
    except (urllib3.exceptions.HTTPError, ServerError) as error:
        raise Unavailable(f"the S3 service does not answer: {error}") from error
    except (S3Error, InvalidResponseError) as error:  # the latter: a proxy's page
        if (error.response.status if isinstance(error, S3Error) else error._code) < 500:
            raise
        raise Unavailable(f"the S3 service is out of order: {error}") from error


class S3Store:
    """Objects of one bucket below a prefix.

    URLs are signed for the endpoint that clients reach, without asking it. Without such an endpoint nothing is signed.
    """

    def __init__(self, bucket: str, prefix: str, settings: Settings) -> None:
        """Open the store; asks the service nothing.

        Args:
            bucket: The bucket, which must exist.
            prefix: Prefix of all objects, without a slash at its end; empty for none.
            settings: Endpoints and keys.
        """
        self.bucket = bucket
        self.prefix = f"{check_name(prefix)}/" if prefix else ""
        self.client = _client(settings, settings.s3_endpoint, settings.s3_secure)
        secure = settings.s3_secure if settings.s3_public_secure is None else settings.s3_public_secure
        public = settings.s3_public_endpoint
        self.public = _client(settings, public, secure) if public else None

    def _key(self, name: str) -> str:
        return self.prefix + check_name(name)

    def put(self, name: str, path: Path, check: StopCheck = never_stop) -> None:
        """Store a file; see `Store.put`."""
        self._put(name, file_chunks(path, check), path.stat().st_size, PART_BYTES)

    def write(self, name: str, chunks: Iterable[bytes]) -> None:
        """Store bytes as they arrive; see `Store.write`."""
        self._put(name, chunks, -1, STREAM_PART_BYTES)

    @_unavailable_raised()
    def _put(self, name: str, chunks: Iterable[bytes], length: int, part_bytes: int) -> None:
        reader: Any = _ChunkReader(chunks)  # of a file, the client calls read alone
        # One part at a time: with several, the client's threads would live on where a chunk raises.
        self.client.put_object(
            self.bucket, self._key(name), reader, length=length, part_size=part_bytes, num_parallel_uploads=1
        )

    @_unavailable_raised()
    def stream(self, name: str) -> Iterator[bytes]:
        """Read an object; see `Store.stream`."""
        try:
            answer = self.client.get_object(self.bucket, self._key(name))
        except S3Error as error:
            if error.code in MISSING_CODES:
                raise Missing(name) from error
            raise

        def chunks() -> Iterator[bytes]:
            try:
                with _unavailable_raised():
                    yield from answer.stream(CHUNK_BYTES)
            finally:
                answer.close()
                answer.release_conn()

        return chunks()

    def make_bucket(self) -> bool:
        """Create the bucket. Returns False where it exists already."""
        if self.client.bucket_exists(self.bucket):
            return False
        self.client.make_bucket(self.bucket)
        return True

    def signed_url(self, name: str, filename: str, seconds: int) -> str | None:
        """Sign a URL for clients; see `Store.signed_url`."""
        if self.public is None:
            return None
        disposition = f'attachment; filename="{check_name(filename)}"'
        return self.public.presigned_get_object(
            self.bucket,
            self._key(name),
            expires=timedelta(seconds=seconds),
            response_headers={"response-content-disposition": disposition},
        )

    def walk(self) -> Iterator[StoredObject]:
        """List every object; see `Store.walk`."""
        with _unavailable_raised():
            for item in self.client.list_objects(self.bucket, prefix=self.prefix, recursive=True):
                if item.object_name and item.last_modified:
                    name = item.object_name.removeprefix(self.prefix)
                    yield StoredObject(name, item.size or 0, item.last_modified.timestamp())

    def abort_incomplete(self, older_s: float, dry_run: bool = False) -> Iterator[str]:
        """Abort multipart uploads; see `Store.abort_incomplete`."""
        before, after = time.time() - older_s, None
        with _unavailable_raised():
            while True:
                page = self.client._list_multipart_uploads(self.bucket, prefix=self.prefix, key_marker=after)
                for upload in page.uploads:
                    begun = upload.initiated_time
                    if begun and begun.timestamp() < before and upload.object_name.startswith(self.prefix):
                        if not dry_run:
                            self.client._abort_multipart_upload(self.bucket, upload.object_name, upload.upload_id or "")
                        yield upload.object_name.removeprefix(self.prefix)
                after = page.next_key_marker
                if not (page.is_truncated and after):
                    return

    @_unavailable_raised()
    def delete(self, prefix: str) -> None:
        """Remove a prefix; see `Store.delete`.

        Raises:
            OSError: The service refused to remove an object.
        """
        listed = self.client.list_objects(self.bucket, prefix=self._key(prefix) + "/", recursive=True)
        objects = (DeleteObject(item.object_name) for item in listed if item.object_name)
        for error in self.client.remove_objects(self.bucket, objects):
            raise OSError(f"{error.name} could not be removed: {error.code} {error.message}")


class _ChunkReader:
    """Chunks as a file to read."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = b""

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes; empty at the end."""
        if not self._held:
            self._held = next(filter(None, self._chunks), b"")
        chunk, self._held = self._held[:size], self._held[size:]
        return chunk


def _client(settings: Settings, endpoint: str, secure: bool) -> Minio:
    # Without a region the client would ask the endpoint for it, and the public one may be out of reach from here.
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
