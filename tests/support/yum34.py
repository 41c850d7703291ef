"""A reader of yum repositories that knows no more than yum 3.4 (CentOS 7) did.

Written from what that version reads: repomd.xml, gz-compressed primary, filelists and other
with the elements that its parser stores, comps plain or gz, updateinfo gz. It uses nothing
but the standard library, so it shares no code with what wrote the metadata.
"""

from __future__ import annotations

import gzip
import hashlib
import urllib.request
from dataclasses import dataclass, field
from urllib.parse import quote
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

REPO = "{http://linux.duke.edu/metadata/repo}"
COMMON = "{http://linux.duke.edu/metadata/common}"
RPM = "{http://linux.duke.edu/metadata/rpm}"
FILES = "{http://linux.duke.edu/metadata/filelists}"
OTHER = "{http://linux.duke.edu/metadata/other}"
_ALGORITHMS = ("sha", "sha1", "sha256")
_FORMAT = ("license", "vendor", "group", "buildhost", "sourcerpm", "header-range")


class Refused(AssertionError):
    """yum 3.4 would not use this repository, or not this part of it."""


@dataclass
class Reading:
    """What a client of that age knows after reading. ``timestamp`` is in seconds."""

    timestamp: int
    packages: dict[str, str] = field(default_factory=dict)
    """NEVRA with epoch -> location."""
    groups: list[str] = field(default_factory=list)
    advisories: dict[str, list[str]] = field(default_factory=dict)
    """Identifier -> file names."""


def read(base: str, before: Reading | None = None) -> Reading:
    """Read the repository at the URL ``base``, every package included.

    Raises Refused, also if repomd.xml is older than ``before``: yum 3.4 takes that for a
    mirror that lags behind and keeps what it has.
    """
    repomd = ElementTree.fromstring(_get(base, "repodata/repomd.xml"))
    records = {one.attrib["type"]: one for one in repomd.iterfind(f"{REPO}data")}
    stamps = [int(float(_text(one, f"{REPO}timestamp"))) for one in records.values()]
    found = Reading(max(stamps))
    if before is not None and found.timestamp < before.timestamp:
        raise Refused("repomd.xml is older than the one we have")
    bodies = {kind: _index(base, kind, one) for kind, one in records.items()}
    ids = _primary(base, bodies["primary"], found)
    for kind, space in (("filelists", FILES), ("other", OTHER)):
        root = ElementTree.fromstring(bodies[kind])
        listed = {one.attrib["pkgid"] for one in root.iterfind(f"{space}package")}
        _must(listed == ids, f"{kind} lists other packages than primary")
        _must(root.attrib["packages"] == str(len(ids)), f"{kind} miscounts")
    for kind in ("group", "group_gz"):
        if kind in bodies:
            root = ElementTree.fromstring(bodies[kind])
            found.groups = [one.findtext("id", "") for one in root.iterfind("group")]
    if "updateinfo" in bodies:
        for update in ElementTree.fromstring(bodies["updateinfo"]).iterfind("update"):
            files = [name.text or "" for name in update.iter("filename")]
            found.advisories[update.findtext("id", "")] = files
    return found


def _index(base: str, kind: str, record: Element) -> bytes:
    """One index, decompressed, its checksums verified."""
    _must(not kind.endswith("_zck"), "zchunk")
    place = record.find(f"{REPO}location")
    assert place is not None
    href = place.attrib["href"]
    body = _get(base, href)
    _must(_sum(record, "checksum") == _hash(record, "checksum", body), f"checksum of {kind}")
    if kind == "group":
        _must(not href.endswith((".gz", ".xz", ".bz2", ".zst")), "comps is not plain")
        return body
    if not href.endswith(".gz"):
        _must(kind not in ("primary", "filelists", "other", "updateinfo"), f"{href} is not gz")
        return body
    plain = gzip.decompress(body)
    _must(_sum(record, "open-checksum") == _hash(record, "open-checksum", plain), f"open {kind}")
    return plain


def _primary(base: str, body: bytes, found: Reading) -> set[str]:
    root = ElementTree.fromstring(body)
    ids = set()
    for package in root.iterfind(f"{COMMON}package"):
        _must(package.attrib.get("type") == "rpm", "a package of another type")
        name, arch = _text(package, f"{COMMON}name"), _text(package, f"{COMMON}arch")
        version = _attributes(package, "version")
        checksum = package.find(f"{COMMON}checksum")
        assert checksum is not None
        _must(checksum.attrib["type"] in _ALGORITHMS, "an unknown checksum")
        _must(checksum.attrib["pkgid"] == "YES", "no package id")
        for tag in ("summary", "description", "packager", "url"):
            _must(package.find(f"{COMMON}{tag}") is not None, f"{name} has no {tag}")
        for tag, names in (("time", ("file", "build")), ("size", ("package", "installed"))):
            for each in names:
                _must(_attributes(package, tag)[each].isdigit(), f"{name}: {tag} {each}")
        about = package.find(f"{COMMON}format")
        _must(about is not None, f"{name} has no format")
        assert about is not None
        for tag in _FORMAT:
            _must(about.find(f"{RPM}{tag}") is not None, f"{name} has no {tag}")
        provides = {one.attrib["name"] for one in about.iterfind(f"{RPM}provides/{RPM}entry")}
        _must(name in provides, f"{name} does not provide itself")
        location = _attributes(package, "location")
        _must(not any(key.endswith("base") for key in location), "a base elsewhere")
        content = _get(base, location["href"])
        _must(len(content) == int(_attributes(package, "size")["package"]), f"size of {name}")
        algorithm = {"sha": "sha1"}.get(checksum.attrib["type"], checksum.attrib["type"])
        _must(hashlib.new(algorithm, content).hexdigest() == checksum.text, f"bytes of {name}")
        nevra = f"{name}-{version['epoch']}:{version['ver']}-{version['rel']}.{arch}"
        found.packages[nevra] = location["href"]
        ids.add(checksum.text or "")
    _must(root.attrib["packages"] == str(len(ids)), "primary miscounts")
    return ids


def _attributes(package: Element, tag: str) -> dict[str, str]:
    one = package.find(f"{COMMON}{tag}")
    _must(one is not None, f"no {tag}")
    assert one is not None
    return one.attrib


def _text(parent: Element, tag: str) -> str:
    text = parent.findtext(tag)
    _must(bool(text), f"no {tag}")
    return text or ""


def _sum(record: Element, tag: str) -> str:
    return _text(record, f"{REPO}{tag}")


def _hash(record: Element, tag: str, body: bytes) -> str:
    algorithm = record.find(f"{REPO}{tag}")
    assert algorithm is not None
    name = algorithm.attrib["type"]
    _must(name in _ALGORITHMS, f"checksum type {name}")
    return hashlib.new("sha1" if name == "sha" else name, body).hexdigest()


def _get(base: str, path: str) -> bytes:
    with urllib.request.urlopen(f"{base}/{quote(path, safe='/+~^')}", timeout=60) as answer:
        body: bytes = answer.read()
    return body


def _must(fact: bool, otherwise: str) -> None:
    if not fact:
        raise Refused(otherwise)
