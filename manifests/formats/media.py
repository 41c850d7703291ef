"""Media types by the ends of names."""

from __future__ import annotations

CONTENT_TYPES = {
    ".xml": "text/xml",
    ".html": "text/html; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".asc": "text/plain; charset=utf-8",
    ".key": "text/plain; charset=utf-8",
    ".json": "application/json",
    ".yaml": "application/yaml",
    ".gz": "application/gzip",
    ".xz": "application/x-xz",
    ".bz2": "application/x-bzip2",
    ".zst": "application/zstd",
    ".rpm": "application/x-rpm",
    ".iso": "application/x-iso9660-image",
}


def content_type(path: str) -> str:
    """The media type that the end of ``path`` stands for."""
    dot = path.rfind(".", path.rfind("/") + 1)
    return CONTENT_TYPES.get(path[dot:].lower() if dot >= 0 else "", "application/octet-stream")
