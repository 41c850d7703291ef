"""Pages for a person's browser. Whatever comes from a tree is escaped."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from urllib.parse import quote

from manifests.formats.base import TreeView
from manifests.state import format_time
from manifests.tree import PRIVATE
from repo_server.gate import Gate
from repo_server.site import InRepository, Site
from store.records import Hold

HTML = "text/html; charset=utf-8"
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em;max-width:70em}"
    "table{border-collapse:collapse}td,th{padding:.1em 1.2em .1em 0;text-align:left}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}"
    "code,pre{background:#eee;padding:.1em .3em}.hold{color:#a00}"
)
_PRIVATE_FOLDER = PRIVATE.rstrip("/")


def head(title: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n"
    )


FOOT = "</body></html>\n"


def size_text(size: int) -> str:
    """A size in bytes for reading."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def listing(view: TreeView, where: InRepository, folder: str, gate: Gate) -> Iterator[str]:
    """The lines of a folder's page, in the tree's order, with flat memory.

    Private paths and what the gate keeps back are not listed.
    """
    prefix = f"{folder}/" if folder else ""
    yield head(f"{where.prefix}{prefix}")
    yield "<table>\n"
    yield '<tr><td><a href="../">../</a></td><td></td></tr>\n'
    for name, entry in view.children(folder):
        if not folder and name == _PRIVATE_FOLDER:
            continue
        if entry is None:
            shown, size = f"{name}/", ""
        elif gate.allow("", where.name, entry.path, entry.digest):
            shown, size = name, size_text(entry.size)
        else:
            continue
        link = quote(name, safe="") + ("/" if entry is None else "")
        yield f'<tr><td><a href="{link}">{escape(shown)}</a></td><td class="n">{size}</td></tr>\n'
    yield "</table>\n"
    yield FOOT


def home(site: Site, holds: list[Hold]) -> str:
    """All repositories, what is published of each, and what waits."""
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
        setup = f'<a href="/setup/{quote(name)}.repo">.repo</a>' if its.format == "yum" else ""
        rows.append(
            f'<tr><td><a href="{url}">{escape(name)}</a></td><td>{escape(its.format)}</td>'
            f'<td class="n">{its.serial}</td><td>{format_time(its.published)}</td>'
            f"<td>{setup}</td><td>{', '.join(notes)}</td></tr>\n"
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
    """All repositories of one format."""
    names = sorted(
        each for each, live in site.repositories.items() if live.edition.publication.format == name
    )
    rows = "".join(
        f'<tr><td><a href="{quote(each)}/">{escape(each)}/</a></td></tr>\n' for each in names
    )
    return f"{head(f'/{name}/')}<table>\n{rows}</table>\n{FOOT}"


def setup(site: Site, base: str) -> str:
    """The ``.repo`` files that clients may fetch, with the commands that do it."""
    rows = "".join(
        f'<tr><td><a href="{quote(name)}.repo">{escape(name)}.repo</a></td>'
        f"<td><code>curl -o /etc/yum.repos.d/{escape(name)}.repo "
        f"{escape(base)}/setup/{quote(name)}.repo</code></td></tr>\n"
        for name, live in sorted(site.repositories.items())
        if live.edition.publication.format == "yum"
    )
    return (
        f"{head('Set up a client')}<p>For dnf and yum, as root:</p>\n"
        f"<table>\n{rows}</table>\n{FOOT}"
    )
