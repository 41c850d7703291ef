"""What container clients need to pull by the names that they always used.

One entry for each original registry, which leads to the registry's own name below ``/v2/``: nothing
that crosses changes an entry, since changed settings restart runtimes and drain nodes.
Formats: containers-registries.conf(5); containerd's ``hosts.toml``; Docker's ``daemon.json``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from html import escape
from urllib.parse import quote, urlsplit

from manifests.formats.oci.origin import component
from repo_server.setup import openshift
from repo_server.setup.base import Asked, Refusal, SetupFile
from repo_server.site import Site

FORMAT = "oci"
_TEXT = "text/plain; charset=utf-8"

_REGISTRIES = """\
# For podman, buildah, skopeo and CRI-O. Save it as
# /etc/containers/registries.conf.d/sluice.conf
# Images keep the names of their original registries and come from here alone:
# the originals themselves are blocked, and so never waited for.
"""
_ORIGINAL = """
[[registry]]
prefix = "{origin}"
location = "{origin}"
blocked = true

[[registry.mirror]]
location = "{host}/{component}"
{insecure}"""
_OURS = """
[[registry]]
location = "{host}"
insecure = true
"""
_HOSTS = """\
# Save it as /etc/containerd/certs.d/{origin}/hosts.toml
# and set config_path = "/etc/containerd/certs.d" in containerd's config.toml.
# The original registry is not asked: `server` is this one, too.
server = "{url}"

[host."{url}"]
  capabilities = ["pull", "resolve"]
{ca}"""
_CA = """\
  # curl -o {folder}/ca.crt {url}/setup/ca.crt
  ca = "{folder}/ca.crt"
"""


class OciSetup:
    """Settings of podman, CRI-O, containerd, Docker and OpenShift, and ``ca.crt``."""

    format = FORMAT

    def find(self, site: Site, name: str) -> SetupFile | None:
        if name == "ca.crt":
            return _certificates(site)
        if not site.names(FORMAT):
            return None
        if name == "registries.conf":
            return _file(_TEXT, lambda asked: _registries(site, asked))
        if name == "docker/daemon.json":
            return SetupFile("application/json", lambda asked: _daemon(site, asked))
        if name == "openshift/mirror-set.yaml":
            return SetupFile(_TEXT, lambda asked: openshift.mirror_set(site, asked))
        if name == "openshift/3.11-inventory.ini":
            return SetupFile(_TEXT, lambda asked: openshift.inventory(site, asked))
        first, _, rest = name.partition("/")
        origin = rest.removesuffix("/hosts.toml")
        if first == "containerd" and name.endswith("/hosts.toml") and origin in site.origins:
            return _file(_TEXT, lambda asked: _hosts(site, asked, origin))
        return None

    def link(self, name: str) -> tuple[str, str]:
        return "registries.conf", "registries.conf"

    def section(self, site: Site, base: str) -> Iterator[str]:
        files = [
            ("registries.conf", "podman, buildah, skopeo, CRI-O"),
            *(
                (f"containerd/{quote(origin, safe=':')}/hosts.toml", f"containerd: {origin}")
                for origin in site.origins
            ),
            ("openshift/mirror-set.yaml", "OpenShift 4"),
            ("openshift/3.11-inventory.ini", "OpenShift 3.11"),
            ("docker/daemon.json", "Docker"),
        ]
        if site.settings.ca:
            files.append(("ca.crt", "the authority behind this server's certificate"))
        rows = "".join(
            f'<tr><td><a href="{path}">{escape(path)}</a></td><td>{escape(what)}</td></tr>\n'
            for path, what in files
        )
        host = escape(urlsplit(base).netloc)
        names = "".join(
            f"<li><code>{host}/{escape(name)}/IMAGE:TAG</code></li>\n"
            for name in site.names(FORMAT)
        )
        yield f"<h2>Container images</h2>\n<table>\n{rows}</table>\n"
        yield f"<p>By names of our own:</p>\n<ul>\n{names}</ul>\n"
        if site.origins:
            known = ", ".join(f"<code>{escape(origin)}/IMAGE:TAG</code>" for origin in site.origins)
            yield f"<p>By the names of the original registries, once set up: {known}</p>\n"


def _file(content_type: str, make: Callable[[Asked], str]) -> SetupFile:
    return SetupFile(content_type, lambda asked: make(asked).encode())


def _certificates(site: Site) -> SetupFile:
    text = site.settings.ca.encode()
    absent = Refusal(404, "No authority is named here (serve: ca_file in zone.yaml).")
    return SetupFile("application/x-pem-file", lambda asked: text or absent)


def _registries(site: Site, asked: Asked) -> str:
    parts = urlsplit(asked.base)
    plain = parts.scheme == "http"
    entries = "".join(
        _ORIGINAL.format(
            origin=origin,
            host=parts.netloc,
            component=component(origin),
            insecure="insecure = true\n" if plain else "",
        )
        for origin in site.origins
    )
    return _REGISTRIES + entries + (_OURS.format(host=parts.netloc) if plain else "")


def _hosts(site: Site, asked: Asked, origin: str) -> str:
    parts = urlsplit(asked.base)
    url = f"{parts.scheme}://{parts.netloc}"
    folder = f"/etc/containerd/certs.d/{origin}"
    known = parts.scheme == "https" and bool(site.settings.ca)
    ca = _CA.format(folder=folder, url=url) if known else ""
    return _HOSTS.format(origin=origin, url=url, ca=ca)


def _daemon(site: Site, asked: Asked) -> bytes | Refusal:
    """Docker's mirror stands for one original registry and takes no path, so only a repository
    at a root of its own can be one."""
    roots = openshift.roots(site, asked)
    wanted = asked.query.get("repository", ())
    if wanted and (len(wanted) > 1 or wanted[0] not in roots):
        known = ", ".join(roots) or "none yet"
        return Refusal(
            404,
            "Docker's mirror needs a repository with a port or host name of its own"
            f" (serve: registries: in zone.yaml); there is: {known}",
        )
    if not wanted and len(roots) > 1:
        return Refusal(404, f"Which one? Add ?repository=NAME; there are: {', '.join(roots)}")
    chosen = [roots[name] for name in (wanted or roots)]
    insecure = [urlsplit(url).netloc for url in (*chosen, asked.base) if url.startswith("http:")]
    settings: dict[str, list[str]] = {}
    if chosen:
        settings["registry-mirrors"] = chosen
    if insecure:
        settings["insecure-registries"] = sorted(set(insecure))
    return (json.dumps(settings, indent=2) + "\n").encode()
