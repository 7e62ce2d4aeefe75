"""Artifacts: immutable folders of files, described by a manifest, kept in a store."""

from .manifest import Corrupt, checked, describe, fetch_manifest, publish_folder
from .opening import open_store
from .s3 import S3Store
from .store import Missing, Store, Stored, Unavailable, check_name

__all__ = [
    "Corrupt",
    "Missing",
    "S3Store",
    "Store",
    "Stored",
    "Unavailable",
    "check_name",
    "checked",
    "describe",
    "fetch_manifest",
    "open_store",
    "publish_folder",
]
