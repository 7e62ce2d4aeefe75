"""Artifacts: immutable folders of files, described by a manifest and kept in a store."""

from .manifest import ArtifactInfo, Corrupt, describe, fetch_files, publish_folder, verified
from .opening import open_store
from .s3 import S3Store
from .store import Missing, Store, StoredObject, Unavailable, check_name

__all__ = [
    "ArtifactInfo",
    "Corrupt",
    "Missing",
    "S3Store",
    "Store",
    "StoredObject",
    "Unavailable",
    "check_name",
    "describe",
    "fetch_files",
    "open_store",
    "publish_folder",
    "verified",
]
