"""The content type of a file, by its name."""

from __future__ import annotations

import mimetypes

__all__ = ["content_type"]

# What differs from the standard library's table, or is not in it on every machine.
_OWN = {
    "7z": "application/x-7z-compressed",
    "apk": "application/vnd.android.package-archive",
    "apng": "image/apng",
    "atom": "application/atom+xml",
    "avif": "image/avif",
    "bz2": "application/x-bzip2",
    "cjs": "application/node",
    "conf": "text/plain",
    "css": "text/css",
    "csv": "text/csv",
    "deb": "application/octet-stream",
    "dmg": "application/octet-stream",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "eot": "application/vnd.ms-fontobject",
    "epub": "application/epub+zip",
    "flac": "audio/x-flac",
    "geojson": "application/geo+json",
    "gif": "image/gif",
    "glb": "model/gltf-binary",
    "gltf": "model/gltf+json",
    "gpx": "application/gpx+xml",
    "gz": "application/gzip",
    "htm": "text/html",
    "html": "text/html",
    "ico": "image/vnd.microsoft.icon",
    "ics": "text/calendar",
    "ini": "text/plain",
    "jar": "application/java-archive",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "js": "text/javascript",
    "json": "application/json",
    "json5": "application/json5",
    "jsonld": "application/ld+json",
    "jsx": "text/jsx",
    "jxl": "image/jxl",
    "kml": "application/vnd.google-earth.kml+xml",
    "less": "text/less",
    "log": "text/plain",
    "m4a": "audio/mp4",
    "map": "application/json",
    "md": "text/markdown",
    "mjs": "text/javascript",
    "mkv": "video/x-matroska",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "obj": "model/obj",
    "odp": "application/vnd.oasis.opendocument.presentation",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "odt": "application/vnd.oasis.opendocument.text",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "otf": "font/otf",
    "pdf": "application/pdf",
    "png": "image/png",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "psd": "image/vnd.adobe.photoshop",
    "rar": "application/vnd.rar",
    "rss": "application/rss+xml",
    "rtf": "application/rtf",
    "scss": "text/x-scss",
    "sql": "application/sql",
    "srt": "application/x-subrip",
    "stl": "model/stl",
    "svg": "image/svg+xml",
    "tar": "application/x-tar",
    "toml": "application/toml",
    "ttc": "font/collection",
    "ttf": "font/ttf",
    "txt": "text/plain",
    "wasm": "application/wasm",
    "wav": "audio/wav",
    "weba": "audio/webm",
    "webm": "video/webm",
    "webmanifest": "application/manifest+json",
    "webp": "image/webp",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "xhtml": "application/xhtml+xml",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "xml": "application/xml",
    "yaml": "text/yaml",
    "yml": "text/yaml",
    "zip": "application/zip",
}
_types = mimetypes.MimeTypes(filenames=())  # not the machine's own tables: an answer must not depend on them


def content_type(name: str) -> str | None:
    """Return the content type for a file name; text is UTF-8. None when the extension is not known."""
    stem, _, extension = name.rpartition("/")[2].rpartition(".")
    extension = extension.lower() if stem else ""  # a name that begins with its only dot has no extension
    kind = _OWN.get(extension) or (_types.types_map[True].get(f".{extension}") if extension else None)
    return f"{kind}; charset=utf-8" if kind is not None and kind.startswith("text/") else kind
