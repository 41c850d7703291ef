"""Pages for a person's browser. Whatever comes from a tree is escaped."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from urllib.parse import quote

from manifests.formats.base import TreeView
from manifests.state import format_time
from manifests.tree import PRIVATE, Entry
from repo_server.frame import FOOT, head
from repo_server.gate import Gate
from repo_server.setup import ALL
from repo_server.site import Site
from store.store import Store

HTML = "text/html; charset=utf-8"
_PRIVATE_FOLDER = PRIVATE.rstrip("/")


def size_text(size: int) -> str:
    """A size in bytes for reading."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def listing(
    title: str, folder: str, views: Sequence[tuple[str, TreeView]], gate: Gate
) -> Iterator[str]:
    """The lines of a folder's page, in the tree's order, with flat memory.

    ``views`` are the repositories that are shown as one, by name; of the same file in
    several, the first is listed. Private paths and what the gate keeps back are not.
    """
    yield head(title)
    yield "<table>\n"
    yield '<tr><td><a href="../">../</a></td><td></td></tr>\n'
    for repository, name, entry in _children(folder, views):
        if not folder and name == _PRIVATE_FOLDER:
            continue
        if entry is None:
            shown, size = f"{name}/", ""
        elif gate.allow("", repository, entry.path, entry.digest):
            shown, size = name, size_text(entry.size)
        else:
            continue
        link = quote(name, safe="") + ("/" if entry is None else "")
        yield f'<tr><td><a href="{link}">{escape(shown)}</a></td><td class="n">{size}</td></tr>\n'
    yield "</table>\n"
    yield FOOT


_Child = tuple[str, str, Entry | None]


def _children(folder: str, views: Sequence[tuple[str, TreeView]]) -> Iterator[_Child]:
    """(repository, name, entry) of each name in a folder of any of ``views``."""

    def those_of(repository: str, view: TreeView) -> Iterator[_Child]:
        return ((repository, name, entry) for name, entry in view.children(folder))

    # heapq.merge is stable: of equal names, that of the earlier repository comes first.
    every = heapq.merge(*(those_of(name, view) for name, view in views), key=_place)
    for _, same in groupby(every, _place):
        yield next(same)


def _place(child: _Child) -> bytes:
    """Where a child stands in a tree; a folder by its first line."""
    _, name, entry = child
    return name.encode() + (b"/" if entry is None else b"\t")


def home(site: Site, store: Store) -> str:
    """All repositories, what is published of each, and what waits."""
    with store.ledger.read() as tx:
        holds = tx.holds()
    waiting = {hold.repository for hold in holds}
    rows = []
    for name, live in sorted(site.repositories.items()):
        its = live.edition.publication
        url = f"/{its.format}/{quote(name)}/"
        notes = []
        if its.rolled_back:
            notes.append("rolled back")
        if waiting & {name, its.source_repository}:
            notes.append('<span class="hold">something newer is held</span>')
        if name in site.groups:
            notes.append("hidden by the group of the same name")
        rows.append(
            f'<tr><td><a href="{url}">{escape(name)}</a></td><td>{escape(its.format)}</td>'
            f'<td class="n">{its.serial}</td><td>{format_time(its.published)}</td>'
            f"<td>{_setup_link(its.format, name)}</td><td>{', '.join(notes)}</td></tr>\n"
        )
    for name, group in sorted(site.groups.items()):
        merged = ", ".join(escape(each) for each in group.members)
        rows.append(
            f'<tr><td><a href="/{group.format.name}/{quote(name)}/">{escape(name)}</a></td>'
            f'<td>{group.format.name}</td><td class="n"></td><td></td>'
            f"<td>{_setup_link(group.format.name, name)}</td><td>merged: {merged}</td></tr>\n"
        )
    page = head("Repositories")
    if rows:
        page += (
            "<table><tr><th>repository</th><th>format</th><th>serial</th><th>published</th>"
            f"<th>set up</th><th></th></tr>\n{''.join(rows)}</table>\n"
        )
    else:
        page += "<p>Nothing is published yet.</p>\n"
    if holds:
        page += (
            f'<p class="hold">{len(holds)} held: <code>sluice status</code> says what for.</p>\n'
        )
    return page + '<p><a href="/setup/">How to set up a client</a></p>\n' + FOOT


def of_format(site: Site, name: str) -> str:
    """All repositories and groups of one format."""
    rows = "".join(
        f'<tr><td><a href="{quote(each)}/">{escape(each)}/</a></td></tr>\n'
        for each in site.names(name)
    )
    return f"{head(f'/{name}/')}<table>\n{rows}</table>\n{FOOT}"


def setup(site: Site, base: str) -> str:
    """What clients may fetch to set themselves up, by format."""
    sections = ("".join(each.section(site, base)) for name, each in ALL.items() if site.names(name))
    return f"{head('Set up a client')}{''.join(sections)}{FOOT}"


def _setup_link(format_name: str, name: str) -> str:
    if format_name not in ALL:
        return ""
    path, label = ALL[format_name].link(name)
    return f'<a href="/setup/{escape(path)}">{escape(label)}</a>'
