"""What is asked of a registry: images, their tags, digests and platforms.

In ``Spec.options`` the same stands as plain JSON values, see ``Asked.options``.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from manifests.errors import BadPath, ConfigError
from manifests.formats.base import Spec
from manifests.formats.oci.document import Platform
from manifests.formats.oci.layout import is_image, is_oci_digest, is_tag, split_reference

_GLOB = re.compile(r"[*?\[]")
_PLATFORM = re.compile(r"[a-z0-9]{1,32}/[a-z0-9_]{1,32}(?:/[a-z0-9.]{1,32})?")
#: Clients whose abilities are known; see ``clients.py``.
CLIENTS = ("docker-1.13",)


@dataclass(frozen=True, slots=True)
class ImageRule:
    """What is wanted of the images that ``name``, a name or a glob, stands for.

    ``tags`` are names, globs, or expressions between slashes; none stand for all tags, unless
    ``digests`` are named. ``newest``: so many of them, by version. ``platforms``: ``os/arch`` or
    ``os/arch/variant``; none stand for all.
    """

    name: str
    tags: tuple[str, ...] = ()
    newest: int | None = None
    digests: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()

    @property
    def is_glob(self) -> bool:
        """Whether the registry must be asked for the names of its images."""
        return is_glob(self.name)

    def matches(self, image: str) -> bool:
        """Whether the rule is about that image."""
        return fnmatch.fnmatchcase(image, self.name) if self.is_glob else image == self.name

    @property
    def lists(self) -> bool:
        """Whether the registry must be asked for an image's tags."""
        if not self.tags:
            return not self.digests or self.newest is not None
        return self.newest is not None or any(not is_tag(tag) for tag in self.tags)


@dataclass(frozen=True, slots=True)
class Asked:
    """All that zone.yaml says of an ``oci`` repository, as far as the format needs it."""

    images: tuple[ImageRule, ...] = ()
    referrers: bool = False
    strict: bool = False
    clients: tuple[str, ...] = ()
    replaces: str = ""

    @property
    def options(self) -> dict[str, object]:
        """As ``Spec.options`` holds it."""
        return {**asdict(self), "images": [asdict(rule) for rule in self.images]}


def asked(spec: Spec) -> Asked:
    """What ``Spec.options`` says. Raises ConfigError: not what ``Asked.options`` makes."""
    options = spec.options
    rows = options.get("images", ())
    if isinstance(rows, str) or not isinstance(rows, Sequence):
        raise ConfigError("the images are not a list", where=spec.name)
    return Asked(
        images=tuple(_rule(row, spec.name) for row in rows),
        referrers=options.get("referrers") is True,
        strict=options.get("strict") is True,
        clients=_texts(options.get("clients", ()), spec.name),
        replaces=str(options.get("replaces", "")),
    )


def _rule(row: object, where: str) -> ImageRule:
    if isinstance(row, str):
        return rule_of(row)
    if not isinstance(row, Mapping):
        raise ConfigError("an image that is neither text nor a mapping", where=where)
    newest = row.get("newest")
    return ImageRule(
        name=str(row.get("name", "")),
        tags=_texts(row.get("tags", ()), where),
        newest=newest if isinstance(newest, int) else None,
        digests=_texts(row.get("digests", ()), where),
        platforms=_texts(row.get("platforms", ()), where),
    )


def _texts(value: object, where: str) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ConfigError("not a list of texts", where=where)
    return tuple(str(each) for each in value)


def rule_of(text: str) -> ImageRule:
    """The rule that ``NAME``, ``NAME:TAG`` or ``NAME@DIGEST`` stands for. Raises BadPath.

    Without a tag it is all of them, and the name may be a glob.
    """
    if "@" not in text and ":" not in text:
        return ImageRule(check_name(text))
    image, reference = split_reference(text)
    if is_oci_digest(reference):
        return ImageRule(image, digests=(reference,))
    return ImageRule(image, tags=(reference,))


def check_name(text: str) -> str:
    """``text`` if it is an image's name or a glob of such names; else BadPath."""
    if not is_image(_GLOB.sub("x", text.replace("]", "x")) if is_glob(text) else text):
        raise BadPath("not the name of an image", where=repr(text[:80]))
    return text


def check_tags(text: str) -> str:
    """``text`` if it is a tag, a glob of tags or an expression between slashes; else BadPath."""
    if is_expression(text):
        try:
            re.compile(text[1:-1])
        except re.error as error:
            raise BadPath(f"not a regular expression ({error})", where=text[:80]) from error
        return text
    if not is_tag(text) and not (is_glob(text) and "/" not in text and len(text) <= 200):
        raise BadPath("not a tag", where=repr(text[:80]))
    return text


def is_glob(text: str) -> bool:
    """Whether ``text`` has wildcards."""
    return _GLOB.search(text) is not None


def is_expression(text: str) -> bool:
    """Whether ``text`` is a regular expression, written between slashes."""
    return len(text) > 2 and text.startswith("/") and text.endswith("/")


def is_platform(text: str) -> bool:
    """Whether ``text`` is ``os/architecture`` or ``os/architecture/variant``."""
    return _PLATFORM.fullmatch(text) is not None


def wanted_platform(platform: Platform, rules: Sequence[str]) -> bool:
    """Whether a manifest for ``platform`` is wanted. 64-bit ARM is v8 if nothing is said."""
    for rule in rules:
        system, _, rest = rule.partition("/")
        architecture, _, variant = rest.partition("/")
        if (system, architecture) != (platform.os, platform.architecture):
            continue
        theirs = platform.variant or ("v8" if architecture == "arm64" else "")
        if not variant or variant == theirs:
            return True
    return False
