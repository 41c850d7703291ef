"""The frame of all pages for a person's browser."""

from __future__ import annotations

from html import escape

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em;max-width:70em}"
    "table{border-collapse:collapse}td,th{padding:.1em 1.2em .1em 0;text-align:left}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}"
    "code,pre{background:#eee;padding:.1em .3em}.hold{color:#a00}"
)
FOOT = "</body></html>\n"


def head(title: str) -> str:
    """Everything up to and with the title."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n"
    )


def page(title: str, body: str) -> str:
    """A whole page; ``body`` is HTML."""
    return f"{head(title)}{body}{FOOT}"
