"""Container images: signed and pushed to a registry, pulled inside by the names they always had."""

from __future__ import annotations

import tempfile
import urllib.request
from pathlib import Path

from tests.demo.stage import Stage
from tests.support.cosign import Signer, signature_tag
from tests.support.images import Descriptor, Layout
from tests.support.podman import Podman
from tests.support.registry import Registry
from tests.support.skopeo import Skopeo

ORIGIN = "registry.example.com"
"""The registry that nodes inside believe they ask."""
IMAGE = "team/app"
BASE_SIZE = 3 << 20


class ImagesPart:
    """An image for two platforms. Use as a context manager: the registry runs meanwhile."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.registry = Registry()
        self.layout = Layout(stage.folder / "images")
        self.signer = Signer()
        self._signatures: dict[str, Descriptor] = {}
        self.skopeo = Skopeo(stage.folder / "skopeo")

    def __enter__(self) -> ImagesPart:
        self.stage.say("A registry outside: an image for amd64 and arm64, signed with a key")
        self.registry.__enter__()
        self.base = self.layout.random_layer(BASE_SIZE, seed=1)
        self.first = self._push("hello from an image that crossed\n", "v1", "latest")
        # podman makes sockets in its folder, and a socket's path must be short.
        self._short = tempfile.TemporaryDirectory(prefix="sl-", dir="/tmp")
        self.podman = Podman(Path(self._short.name))
        return self

    def __exit__(self, *_: object) -> None:
        self.podman.close()
        self._short.cleanup()
        self.registry.__exit__(None, None, None)

    def first_crossing(self) -> None:
        stage = self.stage
        stage.say("Outside: mirror it if that key signed it; inside: ask the same again")
        for zone in (stage.out, stage.inside):
            self.signer.write(zone / "keys/cosign.pub")
        stage.repository(
            f'platform: {{format: oci, upstream: "{self.registry.url}", images: [{IMAGE}],\n'
            f"    replaces: {ORIGIN}, signed_by: keys/cosign.pub}}"
        )
        stage.setting(stage.inside, "require:", "platform: {signed_by: keys/cosign.pub}")
        stage.cross("platform")

    def pull(self) -> None:
        self.stage.say("Inside: skopeo copies the image by tag and by digest, and its signature")
        self._copy(self.first, f"{IMAGE}:v1", f"{IMAGE}@{self.first.digest}")
        self._copy(self._signature(self.first), f"{IMAGE}:{signature_tag(self.first)}")
        self.stage.say(f"A node inside: podman, set up by one file, asks {ORIGIN} as always")
        url = f"{self.stage.url}/setup/registries.conf"
        print(f"    $ curl -o registries.conf {url}")
        with urllib.request.urlopen(url, timeout=10) as answer:
            self.settings = answer.read()
        self.podman.configure(self.settings.decode())
        self._podman(self.first, f"{ORIGIN}/{IMAGE}:v1")
        self._podman(self.first, f"{ORIGIN}/{IMAGE}@{self.first.digest}")
        self._podman_run(f"{ORIGIN}/{IMAGE}:v1")

    def second_crossing(self) -> None:
        stage = self.stage
        stage.say("The registry: v2 on the same base, and `latest` moves to it")
        second = self._push("hello from the second one\n", "v2", "latest")
        stage.say(f"Across the gap again: the base of {BASE_SIZE >> 20} MiB does not")
        if stage.cross("platform") > BASE_SIZE:
            raise SystemExit("the base crossed twice")
        self._copy(second, f"{IMAGE}:latest", f"{IMAGE}:v2")
        self._podman(second, f"{ORIGIN}/{IMAGE}:latest")
        with urllib.request.urlopen(f"{stage.url}/setup/registries.conf", timeout=10) as answer:
            if answer.read() != self.settings:
                raise SystemExit("the set-up file is another one after a crossing")
        print("    the node's set-up file is the same, byte for byte")

    # --- outside

    def _push(self, text: str, *tags: str) -> Descriptor:
        layers = [self.base]
        what = self.layout.index(
            [
                self.layout.image(text, architecture=each, layers=layers)
                for each in ("amd64", "arm64")
            ]
        )
        self.registry.push(self.layout, IMAGE, what, *tags)
        self.registry.push(self.layout, IMAGE, self._signature(what), signature_tag(what))
        print(f"    {IMAGE}:{', :'.join(tags)} is {what.digest}")
        return what

    def _signature(self, what: Descriptor) -> Descriptor:
        """The same one each time it is asked for."""
        if what.digest not in self._signatures:
            made = self.signer.sign(self.layout, what, f"{ORIGIN}/{IMAGE}")
            self._signatures[what.digest] = made
        return self._signatures[what.digest]

    # --- inside

    def _copy(self, what: Descriptor, *references: str) -> None:
        """Copy with skopeo and compare with what was pushed outside."""
        host = self.stage.url.removeprefix("http://")
        wanted = {one.hex: self.layout.read(one) for one in self.layout.within(what)}
        for number, reference in enumerate(references):
            source = f"docker://{host}/platform/{reference}"
            target = self.stage.folder / f"copies/{what.hex[:12]}-{number}"
            target.mkdir(parents=True)
            print(f"    $ skopeo copy --all {source} oci:{self.stage.short(target)}")
            self.skopeo.copy(source, f"oci:{target}:copy")
            found = {one.name: one.read_bytes() for one in (target / "blobs/sha256").iterdir()}
            if found != wanted:
                raise SystemExit(f"{reference} is not what was pushed")
            print(f"      {len(found)} blobs, each as it was pushed")

    def _podman(self, what: Descriptor, reference: str) -> None:
        print(f"    $ podman pull {reference}")
        self.podman.pull(reference, verify=True)
        if what.digest not in self.podman.images():
            raise SystemExit(f"podman has another image than {what.digest}")

    def _podman_run(self, reference: str) -> None:
        """Where the machine lets containers run; a pull needs less."""
        print(f"    $ podman run {reference}")
        said = self.podman.start(reference, check=False).strip()
        print(f"      {said or 'this machine lets no container run; the image is here'}")
