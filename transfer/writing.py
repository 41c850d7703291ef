"""The part files of a draft: written once, behind the room that their heads will need."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from manifests.bundle import END, PartRow
from manifests.durable import DurableFile
from store.hashing import SideHash
from store.store import Store
from transfer.payload import Payload, gathered
from transfer.room import Room
from transfer.spool import Spool

Progress = Callable[[int, int], None]
"""Told the bytes written so far and in all."""


def write_parts(
    store: Store,
    place: Spool,
    draft: str,
    payload: Payload,
    room: Room,
    parts: int,
    total: int,
    progress: Progress | None,
) -> list[PartRow]:
    rows: list[PartRow] = []
    done = 0
    syncs: list[Future[None]] = []
    with ThreadPoolExecutor(1) as pool:
        try:
            for part in range(1, parts + 1):
                offset = room.heads.size(part)
                file = store.files.create(place.draft_part(draft, part))
                hasher = SideHash()
                length = 0
                try:
                    file.write(bytes(offset))
                    for block in gathered(payload.blocks(part)):
                        hasher.update(block)
                        file.write(block)
                        length += len(block)
                        if progress is not None:
                            progress(done + offset + length, total)
                    file.write(END)
                except BaseException:
                    file.close()
                    raise
                finally:
                    digest = hasher.digest()
                rows.append(PartRow(part, offset, length, digest))
                done += offset + length + len(END)
                syncs.append(pool.submit(_sync, file))
                # At most two files wait, so that memory and open files stay few.
                if len(syncs) > 1:
                    syncs.pop(0).result()
        finally:
            payload.close()
            for waiting in syncs:
                waiting.result()
    store.files.sync_dir(place.folder)
    return rows


def _sync(file: DurableFile) -> None:
    try:
        file.sync()
    finally:
        file.close()
