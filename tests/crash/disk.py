"""A model of a disk that loses power.

It is the least that POSIX promises, and worse than any one file system: bytes survive
only an fsync of their file, names only an fsync of their folder, and whatever was not
synced may survive in any combination. A rename within one folder is whole or absent;
between two folders the old name goes only with or after the new one, unless just the old
folder is synced.
"""

from __future__ import annotations

import enum
import os
import random
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from store.seam import Kind, Operation


class Keep(enum.Enum):
    """What survives of that which was not synced."""

    NOTHING = "nothing"
    NAMES = "names"
    DATA = "data"
    EVERYTHING = "everything"
    SOME = "some"


@dataclass(eq=False)
class File:
    """An inode with its bytes now, its bytes at the last fsync, and the writes since."""

    data: bytearray = field(default_factory=bytearray)
    mode: int = 0o644
    durable: bytes = b""
    pending: list[tuple[int, bytes]] = field(default_factory=list)

    def write(self, offset: int, data: bytes) -> None:
        _put(self.data, offset, data)
        self.pending.append((offset, data))

    def sync(self) -> None:
        self.durable = bytes(self.data)
        self.pending.clear()

    def survivor(self, keep: Keep, chance: random.Random) -> bytes:
        if keep in (Keep.DATA, Keep.EVERYTHING):
            return bytes(self.data)
        result = bytearray(self.durable)
        if keep is Keep.SOME:
            for offset, data in self.pending:
                # A write may be torn anywhere.
                _put(result, offset, data[: chance.choice((0, len(data), len(data) // 2))])
        return bytes(result)


def _put(into: bytearray, offset: int, data: bytes) -> None:
    if data:
        into.extend(bytes(max(0, offset - len(into))))
        into[offset : offset + len(data)] = data


@dataclass(eq=False)
class Change:
    """Names of one folder that change together."""

    names: dict[str, File | Folder | None]
    after: Change | None = None
    """Survives by chance only if this one does."""


@dataclass(eq=False)
class Folder:
    """Names now, names at the last fsync, and the changes since."""

    names: dict[str, File | Folder] = field(default_factory=dict)
    durable: dict[str, File | Folder] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)

    def change(self, names: dict[str, File | Folder | None], after: Change | None = None) -> Change:
        change = Change(names, after)
        _apply(self.names, change)
        self.pending.append(change)
        return change

    def sync(self) -> None:
        self.durable = dict(self.names)
        self.pending.clear()


def _apply(names: dict[str, File | Folder], change: Change) -> None:
    for name, node in change.names.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


class Disk:
    """The folder ``root``, at first as its copy ``before`` has it (all of it durable)."""

    def __init__(self, root: Path, before: Path, ignore: frozenset[Path] = frozenset()) -> None:
        self._root = root
        self._handles: dict[int, File] = {}
        self._top = self._load(before, ignore)

    def _load(self, folder: Path, ignore: frozenset[Path]) -> Folder:
        loaded: dict[str, File | Folder] = {}
        for path in sorted(folder.iterdir()):
            if path in ignore:
                continue
            if path.is_dir() and not path.is_symlink():
                loaded[path.name] = self._load(path, ignore)
            elif path.is_file() and not path.is_symlink():
                data = path.read_bytes()
                file = File(bytearray(data), path.stat().st_mode & 0o7777, data)
                loaded[path.name] = file
        return Folder(loaded, dict(loaded))

    # Looking up.

    def _parts(self, path: Path) -> tuple[str, ...]:
        return path.relative_to(self._root).parts

    def _find(self, path: Path) -> File | Folder | None:
        node: File | Folder | None = self._top
        for part in self._parts(path):
            if not isinstance(node, Folder):
                return None
            node = node.names.get(part)
        return node

    def _folder(self, path: Path) -> Folder:
        node = self._find(path)
        assert isinstance(node, Folder), f"no folder {path}"
        return node

    def meet(self, path: Path, content: dict[str, bytes]) -> None:
        """Learn what another program wrote at ``path``: neither bytes nor names are synced.

        ``content`` gives the bytes by path below ``path`` ("" for a file itself).
        """
        for relative, data in content.items():
            target = path.joinpath(*PurePosixPath(relative).parts)
            folder = self._top
            for part in self._parts(target)[:-1]:
                child = folder.names.get(part)
                if child is None:
                    child = Folder()
                    folder.change({part: child})
                assert isinstance(child, Folder)
                folder = child
            node = folder.names.get(target.name)
            if isinstance(node, File) and bytes(node.data) == data:
                continue
            file = File()
            file.write(0, data)
            folder.change({target.name: file})

    # Carrying out; what the operating system would refuse changes nothing.

    def carry_out(self, operation: Operation) -> None:
        """Do what ``operation`` does."""
        kind, path, target = operation.kind, operation.path, operation.target
        if kind is Kind.COMMITTED:
            return
        if kind is Kind.CREATE:
            if self._find(path) is None:
                file = File(mode=operation.mode)
                self._handles[operation.handle] = file
                self._folder(path.parent).change({path.name: file})
        elif kind is Kind.WRITE:
            node = self._handles[operation.handle] if operation.handle else self._find(path)
            assert isinstance(node, File), f"no file {path}"
            node.write(operation.offset, operation.data)
        elif kind is Kind.SYNC_FILE:
            node = self._handles[operation.handle] if operation.handle else self._find(path)
            if node is not None:
                node.sync()
        elif kind is Kind.SYNC_DIR:
            node = self._find(path) if path.is_relative_to(self._root) else None
            if isinstance(node, Folder):
                node.sync()
        elif kind is Kind.MKDIR:
            if self._find(path) is None:
                self._folder(path.parent).change({path.name: Folder()})
        elif kind is Kind.UNLINK:
            if isinstance(self._find(path), File):
                self._folder(path.parent).change({path.name: None})
        elif kind is Kind.CHMOD:
            node = self._find(path)
            if isinstance(node, File):
                node.mode = operation.mode
        else:
            assert target is not None
            self._move(kind, path, target)

    def _move(self, kind: Kind, source: Path, target: Path) -> None:
        node, there = self._find(source), self._find(target)
        if node is None or node is there:
            return
        if kind is Kind.LINK:
            if there is None:
                self._folder(target.parent).change({target.name: node})
        elif source.parent == target.parent:
            self._folder(source.parent).change({source.name: None, target.name: node})
        else:
            arrived = self._folder(target.parent).change({target.name: node})
            self._folder(source.parent).change({source.name: None}, after=arrived)

    # The power cut.

    def rebuild(self, root: Path, keep: Keep, seed: int = 0) -> None:
        """Write into the new folder ``root`` what a power cut now would leave."""
        self._write(self._top, root, keep, random.Random(seed), {}, set())

    def _write(
        self,
        folder: Folder,
        at: Path,
        keep: Keep,
        chance: random.Random,
        written: dict[File, Path],
        kept: set[Change],
    ) -> None:
        at.mkdir()
        names = dict(folder.durable)
        for change in folder.pending:
            if keep in (Keep.NAMES, Keep.EVERYTHING):
                survives = True
            elif keep is Keep.SOME:
                survives = chance.random() < 0.5
                if change.after is not None and survives:
                    survives = change.after in kept or not self._is_pending(change.after)
            else:
                survives = False
            if survives:
                kept.add(change)
                _apply(names, change)
        for name, node in names.items():
            if isinstance(node, Folder):
                self._write(node, at / name, keep, chance, written, kept)
            elif node in written:
                os.link(written[node], at / name)
            else:
                (at / name).write_bytes(node.survivor(keep, chance))
                (at / name).chmod(node.mode)
                written[node] = at / name

    def _is_pending(self, change: Change, below: Folder | None = None) -> bool:
        folder = below or self._top
        return change in folder.pending or any(
            self._is_pending(change, child)
            for child in folder.names.values()
            if isinstance(child, Folder)
        )
