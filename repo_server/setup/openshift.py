"""What OpenShift needs to pull from here: mirror sets of 4.x, an inventory's variables of 3.11.

config.openshift.io/v1 ``ImageDigestMirrorSet`` and ``ImageTagMirrorSet`` (since 4.13),
operator.openshift.io/v1alpha1 ``ImageContentSourcePolicy`` (before); openshift-ansible 3.11.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from manifests.formats.oci.origin import component
from repo_server.setup.base import Asked, Refusal
from repo_server.site import Site

POLICY = "ImageContentSourcePolicy"
_SETS = """\
# OpenShift 4.13 and newer: oc apply -f mirror-set.yaml
# Older ones know only what stands at the end of this file, and pull from it by digest only:
# oc apply -f 'mirror-set.yaml?kind=ImageContentSourcePolicy'
# A changed mirror set drains nodes. What crosses changes nothing here: one entry stands for each
# original registry. The originals are not asked.
{trust}apiVersion: config.openshift.io/v1
kind: ImageDigestMirrorSet
metadata:
  name: sluice
spec:
  imageDigestMirrors:
{entries}---
apiVersion: config.openshift.io/v1
kind: ImageTagMirrorSet
metadata:
  name: sluice
spec:
  imageTagMirrors:
{entries}"""
_ENTRY = """\
  - source: {origin}
    mirrors:
    - {mirror}
    mirrorSourcePolicy: NeverContactSource
"""
_OLDER = """\
apiVersion: operator.openshift.io/v1alpha1
kind: ImageContentSourcePolicy
metadata:
  name: sluice
spec:
  repositoryDigestMirrors:
{entries}"""
_OLDER_ENTRY = """\
  - source: {origin}
    mirrors:
    - {mirror}
"""
_PLAIN = """\
# This server is reached by plain HTTP, which the cluster must be told first:
# oc patch image.config.openshift.io/cluster --type merge -p \\
#   '{{"spec":{{"registrySources":{{"insecureRegistries":["{host}"]}}}}}}'
"""
_PRIVATE = """\
# The cluster must trust this server's authority first ({base}/setup/ca.crt):
# oc create configmap sluice-ca -n openshift-config --from-file={key}=ca.crt
# oc patch image.config.openshift.io/cluster --type merge -p \\
#   '{{"spec":{{"additionalTrustedCA":{{"name":"sluice-ca"}}}}}}'
"""
_INVENTORY = """\
# OpenShift 3.11: add these to [OSEv3:vars] of the inventory. It has no mirror sets, so names
# lead here by themselves. 3.11 runs Docker 1.13, which cannot pull OCI images:
# set `clients: [docker-1.13]` outside, so that a sync warns of them.
[OSEv3:vars]
oreg_url={place}/openshift3/ose-${{component}}:${{version}}
openshift_examples_modify_imagestreams=true
{registries}"""


def roots(site: Site, asked: Asked) -> dict[str, str]:
    """Repositories that stand at a root of their own, with its address, in zone.yaml's order."""
    parts = urlsplit(asked.base)
    port = "" if parts.port is None else f":{parts.port}"
    own = (parts.hostname or "", port)
    found = {}
    for name, each in site.settings.serve.registries.items():
        if name not in site.names("oci"):
            continue
        if each.hosts:
            host = each.hosts[0]
            found[name] = f"{parts.scheme}://{host if ':' in host else host + own[1]}"
        elif each.listen is not None and each.listen[1]:
            host = f"[{own[0]}]" if ":" in own[0] else own[0]
            found[name] = f"{site.settings.scheme}://{host}:{each.listen[1]}"
    return found


def mirror_set(site: Site, asked: Asked) -> bytes | Refusal:
    """The digest and the tag mirror set; the older policy as comments, or alone by ``?kind=``."""
    parts = urlsplit(asked.base)
    if not site.origins:
        return Refusal(404, "No repository says which registry it replaces (`replaces:`).")
    rows = [(origin, f"{parts.netloc}/{component(origin)}") for origin in site.origins]
    older = _OLDER.format(
        entries="".join(_OLDER_ENTRY.format(origin=one, mirror=mirror) for one, mirror in rows)
    )
    if list(asked.query.get("kind", ())) == [POLICY]:
        return (_trust(site, asked) + older).encode()
    sets = _SETS.format(
        trust=_trust(site, asked),
        entries="".join(_ENTRY.format(origin=one, mirror=mirror) for one, mirror in rows),
    )
    comment = "".join(f"# {line}\n" for line in older.splitlines())
    return f"{sets}# OpenShift 4.12 and older, instead of the above:\n{comment}".encode()


def _trust(site: Site, asked: Asked) -> str:
    parts = urlsplit(asked.base)
    if parts.scheme == "http":
        return _PLAIN.format(host=parts.netloc)
    if site.settings.ca:
        return _PRIVATE.format(base=asked.base, key=parts.netloc.replace(":", ".."))
    return ""


def inventory(site: Site, asked: Asked) -> bytes | Refusal:
    """Variables for openshift-ansible; ``?registry=`` says whose images are meant."""
    parts = urlsplit(asked.base)
    wanted = list(asked.query.get("registry", ()))
    origins = [each for each in site.origins if not wanted or [each] == wanted]
    if len(origins) != 1:
        known = ", ".join(site.origins) or "none; a repository says so by `replaces:`"
        return Refusal(404, f"Which registry? Add ?registry=NAME; replaced are: {known}")
    own = roots(site, asked)
    root = next((own[name] for name in site.origins[origins[0]] if name in own), "")
    host = urlsplit(root).netloc if root else parts.netloc
    lines = [f"openshift_docker_additional_registries={host}"] if root else []
    if (root or asked.base).startswith("http:"):
        lines.append(f"openshift_docker_insecure_registries={host}")
    lines.append(f"openshift_docker_blocked_registries={','.join(site.origins)}")
    place = host if root else f"{host}/{component(origins[0])}"
    registries = "".join(f"{line}\n" for line in lines)
    return _INVENTORY.format(place=place, registries=registries).encode()
