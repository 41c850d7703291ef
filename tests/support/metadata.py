"""Text of the optional yum metadata: advisories, groups, a module stream, a product."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.sax.saxutils import quoteattr

from tests.support.rpms import Package

PRODUCT_ID = b"-----BEGIN CERTIFICATE-----\nZXhhbXBsZSBwcm9kdWN0\n-----END CERTIFICATE-----\n"
"""Stands for a product certificate: clients carry it, none of ours reads it."""


def updateinfo(
    fixed: Iterable[Package],
    *,
    advisory: str = "EXSA-2024:0001",
    kind: str = "security",
    severity: str = "Important",
) -> bytes:
    """updateinfo.xml with one advisory that ``fixed`` packages resolve."""
    rows = "".join(
        f"      <package name={quoteattr(p.name)} epoch={quoteattr(str(p.epoch))}"
        f" version={quoteattr(p.version)} release={quoteattr(p.release)}"
        f" arch={quoteattr(p.arch)}><filename>{p.filename}</filename></package>\n"
        for p in fixed
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<updates>
  <update from="security@example.org" status="final" type="{kind}" version="1">
    <id>{advisory}</id>
    <title>Example advisory {advisory}</title>
    <issued date="2024-01-02 03:04:05"/>
    <updated date="2024-01-02 03:04:05"/>
    <severity>{severity}</severity>
    <description>A hole is closed.</description>
    <references>
      <reference href="https://example.org/{advisory}" id="CVE-2024-0001" type="cve"/>
    </references>
    <pkglist><collection short="example"><name>Example</name>
{rows}    </collection></pkglist>
  </update>
</updates>
""".encode()


def comps(names: Sequence[str], *, group: str = "example-tools", title: str = "Tools") -> bytes:
    """comps.xml with one visible group of mandatory packages."""
    rows = "".join(f'<packagereq type="mandatory">{name}</packagereq>' for name in names)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE comps PUBLIC "-//Red Hat, Inc.//DTD Comps info//EN" "comps.dtd">
<comps>
  <group>
    <id>{group}</id><name>{title}</name><description>{title} of the example</description>
    <default>true</default><uservisible>true</uservisible>
    <packagelist>{rows}</packagelist>
  </group>
</comps>
""".encode()


def modules(
    packages: Sequence[Package],
    *,
    module: str = "tool",
    stream: str = "2",
    version: int = 20240102030405,
    context: str = "0a1b2c3d",
    default: bool = False,
) -> bytes:
    """modules.yaml: one stream (modulemd version 2) that owns ``packages``."""
    artifacts = "".join(f"    - {p.nevra}\n" for p in packages)
    profile = "".join(f"      - {name}\n" for name in sorted({p.name for p in packages}))
    text = f"""---
document: modulemd
version: 2
data:
  name: {module}
  stream: "{stream}"
  version: {version}
  context: {context}
  arch: x86_64
  summary: Example module
  description: A module of the example repository.
  license:
    module:
    - Apache-2.0
  profiles:
    common:
      rpms:
{profile}  artifacts:
    rpms:
{artifacts}...
"""
    if default:
        text += f"""---
document: modulemd-defaults
version: 1
data:
  module: {module}
  stream: "{stream}"
  profiles:
    "{stream}": [common]
...
"""
    return text.encode()
