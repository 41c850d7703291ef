"""The wire, versions 1 and 2: what a bundle and its parts are, byte for byte.

This package is the one place that knows the wire. The sender and the receiver
import it and never each other.

Part
====
A part is a plain uncompressed tar archive (ustar, POSIX.1-1988)::

    0        +-----------------------------------------------------------+
             | tar header "PART", its record (canonical JSON), zeros     |
             +-----------------------------------------------------------+
             | in parts that carry copies, each one tar member:          |
      head   |   manifest.json     the manifest                          |
             |   targets.json      its release document (a heartbeat may |
             |                     have timestamp.json instead)          |
             |   root/1.root.json ... root/N.root.json   the root chain  |
             |   parts.tsv         the part table                        |
             +-----------------------------------------------------------+
             | tar header "PAD", zeros up to the payload                 |
    offset   +-----------------------------------------------------------+
             | tar header DIGEST or DIGEST.N, stored bytes, zeros        |
      payload| tar header ...                                            |
             | (the index is the first blob of the first part)           |
    offset   +-----------------------------------------------------------+
    + length | 1,024 zero bytes: the end of the archive                  |
             +-----------------------------------------------------------+

Every tar header is 512 bytes: name, mode ``0000644``, uid and gid ``0000000``,
size in eleven octal digits, mtime 0, type ``0``, ``ustar`` NUL ``00``; all other
fields are NUL (`manifests.bundle.tar`). Members are padded with zeros to 512
bytes. There is no PAD when the members before it end exactly at ``offset``.
``offset`` is a multiple of 4,096.

The head has room for more than it holds: the payload is written when a draft
is packed, the head when the draft is released and signed.

The record PART says what the file claims to be: ``wire`` (1 or 2), ``stream``,
``epoch``, ``sequence``, ``part`` (from 1), ``parts`` (data and parity parts),
``offset`` and ``length`` of the payload in bytes, ``manifest`` (its digest). It
is a hint: a reader believes the signed manifest and recognises the payload of a
file with a damaged head by trying the rows of the part tables that it knows.
The name of the file means nothing; names in the archive are never used to
write a file.

Payload
=======
A member holds a fragment of the *stored* bytes of one blob, at most 4 GiB. Its
name is the SHA-256 of all the stored bytes; the second fragment's ends in
``.1``, the third's in ``.2``. A blob that does not fit goes on at the start of
the next part. Members, in this order: the index, the provenance, trees and tree deltas, blobs
grouped by repository (so that a lost part touches few of them). The index comes
first, so that parts can be taken in as they arrive; room for it is reserved
before its size is known, and a member PAD of zeros fills what it leaves free.

Index
=====
Text, one line for each stored blob, in the order of the payload::

    output-digest TAB output-size TAB codec TAB base TAB stored-digest TAB
    stored-size TAB location[,location ...] LF

``location`` is ``part:offset:length`` in decimal with 5, 13 and 10 digits: where
the bytes of a fragment (after its tar header) lie, ``offset`` counted from the
start of the payload. An empty blob has one location of length 0. No location
overlaps another. Sizes have no leading zeros. ``codec`` says how stored bytes
become the blob::

    raw          they are the blob; base is "-", both digests and sizes agree
    tree-delta   a delta (`manifests.tree`) against the tree whose digest is base

Other words are for later versions: a reader that does not know one holds the
blob back, by name, and nothing else.

Part table
==========
Text, one line for each part, data parts first, numbered from 1 without a gap::

    part TAB algorithm TAB offset TAB length TAB digest LF

``digest`` is that of the payload, ``offset`` and ``length`` bytes in the file,
both multiples of 512. ``algorithm`` is ``sha256``.

Manifest
========
Canonical JSON (`manifests.canonical`) of at most 1,000,000 bytes; its fields are
those of `Manifest`. It is signed through its release document
(`manifests.documents`). ``parity`` is ``{"algorithm":"none","data":N,"parity":0}``
and ``orders`` is empty in what these versions write.

Versions
========
Version 2 adds two fields to the manifest and nothing else: ``provenance``, null or
the digest and size of a blob of this bundle (`manifests.provenance`), and ``writer``,
the program that wrote it. A stream may be written in version 1 for an inside that reads
no other. A reader leaves the parts of a wire that it does not know where they are.

What is a function of what
==========================
Manifest, release document, root chain, part table, index and blobs together
determine every byte of every part, so a part can be made again at any time.
"""

from manifests.bundle.head import Copies, Head, PartRecord, build_head, head_room, read_head
from manifests.bundle.index import Index, IndexEntry, check_index
from manifests.bundle.layout import Fragment, HeadPlan, Layout
from manifests.bundle.manifest import (
    MAX_MANIFEST,
    WIRE,
    WIRES,
    EventHead,
    Location,
    Manifest,
    Parity,
    TextRef,
)
from manifests.bundle.names import PartName, draft_part_name
from manifests.bundle.parts import PartRow, encode_parts, parse_parts
from manifests.bundle.tar import BLOCK, END, member_header, padding

__all__ = [
    "BLOCK",
    "END",
    "MAX_MANIFEST",
    "WIRE",
    "WIRES",
    "Copies",
    "EventHead",
    "Fragment",
    "Head",
    "HeadPlan",
    "Index",
    "IndexEntry",
    "Layout",
    "Location",
    "Manifest",
    "Parity",
    "PartName",
    "PartRecord",
    "PartRow",
    "TextRef",
    "build_head",
    "check_index",
    "draft_part_name",
    "encode_parts",
    "head_room",
    "member_header",
    "padding",
    "parse_parts",
    "read_head",
]
