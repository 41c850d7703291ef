"""Signatures of images: who is believed, about what, and what hostile ones achieve."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.errors import ConfigError, SignatureInvalid
from manifests.formats.base import Signed
from manifests.formats.oci import cosign, pubkeys, signing
from tests.support.cosign import ANNOTATION, SIMPLE, Signer, carrier, signature_tag, simple_signing
from tests.support.formats import MemoryView
from tests.support.images import OCI_MANIFEST, Descriptor, Layout
from tests.support.imagetrees import tree

IMAGE = "team/app"
NAMED = f"registry.example.com/{IMAGE}"


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


def as_tree(layout: Layout, tags: dict[str, Descriptor], *more: Descriptor) -> dict[str, bytes]:
    """A repository with one image; ``more`` have no tag."""
    named = {f"{IMAGE}:{tag}": what for tag, what in tags.items()}
    return tree(layout, named, also={IMAGE: more})


def unsigned(files: dict[str, bytes], *signers: Signer) -> dict[str, str]:
    """Path -> why it counts as unsigned."""
    view = MemoryView(files)
    keys = [key for one in signers for key in pubkeys.read_keys(one.public)]
    found = signing.unsigned(view, list(signing.signed(view)), keys)
    return {problem.path: problem.what for problem in found}


def by_tag(layout: Layout, what: Descriptor, *layers: Descriptor) -> dict[str, bytes]:
    """A tree with ``what`` as v1 and signatures by cosign's tag scheme."""
    return as_tree(layout, {"v1": what, signature_tag(what): carrier(layout, *layers)})


V1 = f"{IMAGE}/_tags/v1"


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa", "ed25519"])
@pytest.mark.parametrize("form", ["tag", "referrer", "bundle"])
def test_a_signature_of_every_kind_of_key_and_form_is_good(
    layout: Layout, kind: str, form: str
) -> None:
    one, what = Signer(kind), layout.platforms()
    if form == "tag":
        files = by_tag(layout, what, one.layer(layout, what, NAMED))
    else:
        attached = (
            one.refer(layout, what, NAMED) if form == "referrer" else one.bundle(layout, what)
        )
        files = as_tree(layout, {"v1": what}, attached)
    assert unsigned(files, one) == {}
    assert unsigned(files, Signer(), one) == {}, "one of several keys is enough"
    assert unsigned(files, Signer(kind)) == {V1: "it is signed, but by no trusted key"}


def test_a_bundle_of_a_larger_curve_may_use_the_curves_own_hash(layout: Layout) -> None:
    one, what = Signer("p384"), layout.image()
    files = as_tree(layout, {"v1": what}, one.bundle(layout, what, hash_size=384))
    assert unsigned(files, one) == {}


def test_the_fallback_tag_of_referrers_leads_to_signatures(layout: Layout, signer: Signer) -> None:
    what = layout.image()
    listed = layout.index([signer.sign(layout, what, NAMED)])
    files = as_tree(layout, {"v1": what, what.digest.replace(":", "-"): listed})
    assert unsigned(files, signer) == {}


def test_what_is_not_signed_is_named(layout: Layout, signer: Signer) -> None:
    good, bad = layout.image("good\n"), layout.image("bad\n")
    tags = {"v1": good, "v2": bad, signature_tag(good): signer.sign(layout, good, NAMED)}
    files = as_tree(layout, tags) | tree(layout, {"other:latest": good})
    assert unsigned(files, signer) == {
        f"{IMAGE}/_tags/v2": "it is not signed",
        "other/_tags/latest": "it is not signed",
    }


def test_a_signature_does_not_pass_from_one_image_to_another(
    layout: Layout, signer: Signer
) -> None:
    """The registry hands out one signed image in the place of another."""
    what = layout.image()
    files = by_tag(layout, what, signer.layer(layout, what, "registry.example.com/team/other"))
    assert "team/other, another image" in unsigned(files, signer)[V1]
    other = layout.image("other\n")
    files = by_tag(layout, what, signer.layer(layout, other, NAMED))
    assert unsigned(files, signer) == {V1: f"its signature is for another image: {other.digest}"}
    bundle = signer.bundle(layout, other)
    lies = json.loads(layout.read(bundle))
    lies["subject"] = Descriptor(what.media_type, what.digest, what.size).json()
    files = as_tree(layout, {"v1": what}, layout.document(lies))
    assert unsigned(files, signer) == {V1: "its signature is for another image"}


def test_the_most_telling_reason_is_given(layout: Layout, signer: Signer) -> None:
    what = layout.image()
    layers = [
        Signer().layer(layout, what, NAMED),
        signer.layer(layout, layout.image("other\n"), NAMED),
        Signer().layer(layout, what, NAMED),
    ]
    assert "for another image" in unsigned(by_tag(layout, what, *layers), signer)[V1]
    good = signer.layer(layout, what, NAMED)
    assert unsigned(by_tag(layout, what, *layers, good), signer) == {}


def test_an_attestation_is_no_signature(layout: Layout, signer: Signer) -> None:
    what = layout.image()
    found = signer.bundle(layout, what, says="https://slsa.dev/provenance/v1")
    files = as_tree(layout, {"v1": what}, found)
    assert unsigned(files, signer) == {V1: "it has an attestation, but no signature"}


def test_an_index_covers_its_manifests_but_not_their_tags(layout: Layout, signer: Signer) -> None:
    amd64, arm64 = layout.image(architecture="amd64"), layout.image(architecture="arm64")
    what = layout.index([amd64, arm64])
    tags = {"v1": what, signature_tag(what): signer.sign(layout, what, NAMED), "v1-amd64": amd64}
    assert unsigned(as_tree(layout, tags), signer) == {
        f"{IMAGE}/_tags/v1-amd64": "it is not signed"
    }


def test_what_is_attached_needs_no_signature_of_its_own(layout: Layout, signer: Signer) -> None:
    what = layout.image()
    sbom = layout.artifact("application/spdx+json", subject=what)
    about = layout.artifact("text/plain", subject=sbom)
    tags = {"v1": what, signature_tag(what): signer.sign(layout, what, NAMED)}
    assert unsigned(as_tree(layout, tags, sbom, about), signer) == {}
    stray = layout.artifact("text/plain", subject=layout.image("absent\n"))
    found = unsigned(as_tree(layout, tags, sbom, about, stray), signer)
    assert found == {f"{IMAGE}/_manifests/sha256/{stray.hex}": "it is not signed"}


def test_manifests_without_a_tag_are_signed_too(layout: Layout, signer: Signer) -> None:
    what, other = layout.platforms(), layout.platforms("other\n")
    attached = signer.refer(layout, what, NAMED)
    assert unsigned(as_tree(layout, {}, what, attached), signer) == {}
    found = unsigned(as_tree(layout, {}, what, attached, other), signer)
    assert found == {f"{IMAGE}/_manifests/sha256/{other.hex}": "it is not signed"}


def test_manifests_that_cover_each_other_are_not_signed(layout: Layout, signer: Signer) -> None:
    inner = layout.image()
    outer = layout.index([inner], subject=Descriptor(inner.media_type, inner.digest, 1).json())
    found = unsigned(as_tree(layout, {}, inner, outer), signer)
    assert set(found) == {f"{IMAGE}/_manifests/sha256/{one.hex}" for one in (inner, outer)}


def test_a_tag_that_looks_attached_to_nothing_must_be_signed(
    layout: Layout, signer: Signer
) -> None:
    tag = f"sha256-{'a' * 64}.sig"
    found = unsigned(as_tree(layout, {tag: layout.image()}), signer)
    assert "it is not signed" in found.values()


def _edited(change: Callable[[dict[str, object]], None]) -> Callable[[bytes], bytes]:
    def edit(payload: bytes) -> bytes:
        value = json.loads(payload)
        change(value)
        return json.dumps(value).encode()

    return edit


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda payload: payload[:-20], "not JSON"),
        (lambda payload: b"[" * 100_000, "not JSON"),
        (lambda payload: payload[:-1] + b',"critical":{}}', "not JSON"),
        (lambda payload: payload[:-1] + b',"Critical":{}}', "same name twice"),
        (lambda payload: b"[]", "not of a known form"),
        (_edited(lambda value: value.pop("critical")), "not of a known form"),
        (_edited(lambda value: value["critical"].update(type="atomic")), "not for an image"),
        (_edited(lambda value: value["critical"].update(image={})), "another image: None"),
        (
            _edited(lambda value: value["critical"]["identity"].update({"docker-reference": 1})),
            "names no image",
        ),
        (lambda payload: payload + b" " * cosign.MAX_PAYLOAD, "more than 262144 bytes"),
    ],
)  # type: ignore[misc]
def test_even_a_trusted_key_must_say_the_right_thing(
    layout: Layout, signer: Signer, edit: Callable[[bytes], bytes], reason: str
) -> None:
    what = layout.image()
    payload = edit(simple_signing(what.digest, NAMED))
    layer = signer.layer(layout, what, NAMED, payload=payload)
    assert reason in unsigned(by_tag(layout, what, layer), signer)[V1]


@pytest.mark.parametrize("text", ["", "!", "AAAA" * 3000, base64.b64encode(b"short").decode()])
def test_a_signature_that_is_none(layout: Layout, signer: Signer, text: str) -> None:
    what = layout.image()
    layer = signer.layer(layout, what, NAMED).having(annotations={ANNOTATION: text})
    assert set(unsigned(by_tag(layout, what, layer), signer)) == {V1}


def test_a_truncated_signature_or_payload(layout: Layout, signer: Signer) -> None:
    what, payload = layout.image(), simple_signing(layout.image().digest, NAMED)
    whole = base64.b64encode(signer.raw(payload)).decode()
    cut = base64.b64encode(signer.raw(payload)[:-1]).decode()
    for data, signature in ((payload, cut), (payload[:-1], whole)):
        layer = layout.blob(data, SIMPLE).having(annotations={ANNOTATION: signature})
        found = unsigned(by_tag(layout, what, layer), signer)
        assert found == {V1: "it is signed, but by no trusted key"}


def test_a_signature_whose_payload_is_not_here(layout: Layout, signer: Signer) -> None:
    what = layout.image()
    layer = signer.layer(layout, what, NAMED)
    files = by_tag(layout, what, layer)
    del files[f"{IMAGE}/_blobs/sha256/{layer.hex}"]
    assert set(unsigned(files, signer)) == {V1}


def test_a_flood_of_signatures_ends(layout: Layout, signer: Signer) -> None:
    what = layout.image()
    good, bad = signer.layer(layout, what, NAMED), Signer().layer(layout, what, NAMED)
    assert unsigned(by_tag(layout, what, *[bad] * (cosign.MAX_CLAIMS - 1), good), signer) == {}
    found = unsigned(by_tag(layout, what, *[bad] * 3000, good), signer)
    assert f"only the first {cosign.MAX_CLAIMS} signatures" in found[V1]


def test_signature_manifests_that_cannot_be_read_sign_nothing(
    layout: Layout, signer: Signer
) -> None:
    what = layout.image()
    files = as_tree(layout, {"v1": what})
    files[f"{IMAGE}/_tags/{signature_tag(what)}"] = broken = b'{"schemaVersion": 2'
    name = layout.blob(broken, OCI_MANIFEST).hex
    files[f"{IMAGE}/_manifests/sha256/{name}"] = broken
    assert V1 in unsigned(files, signer)


def test_rows_that_lie_are_checked_against_the_tree(layout: Layout, signer: Signer) -> None:
    """They come from a process that strangers' bytes may have taken over."""
    what, other = layout.image(), layout.image("other\n")
    good = signer.layer(layout, other, NAMED)
    files = by_tag(layout, what, good)
    view, keys = MemoryView(files), pubkeys.read_keys(signer.public)
    texts = ["", "x", f"{good.digest} {good.size} !", f"../../etc/passwd 9 {'A' * 8}", "a b c d"]
    rows = [Signed(V1, kind, text) for kind in signing.KINDS for text in texts]
    rows += [Signed(V1, cosign.SIMPLE, f"{good.digest} {'9' * 30} AAAA")]
    rows += [Signed(f"{IMAGE}/_tags/absent", cosign.SIMPLE), Signed("../x", cosign.SIMPLE)]
    found = {problem.path for problem in signing.unsigned(view, rows, keys)}
    assert found == {V1, f"{IMAGE}/_tags/absent", "../x"}


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_bytes_are_a_signature_or_are_refused(blob: bytes, signature: bytes) -> None:
    keys = pubkeys.read_keys(_KEY.public)
    text = base64.b64encode(signature).decode()
    for claim in (
        cosign.Claim(cosign.SIMPLE, "sha256:00", len(blob), text),
        cosign.Claim(cosign.BUNDLE, "sha256:00", len(blob)),
    ):
        with pytest.raises(SignatureInvalid):
            cosign.verify(IMAGE, "sha256:00", [(claim, blob)], keys)


_KEY = Signer()


@pytest.mark.parametrize(
    ("reference", "same"),
    [
        ("registry.example.com/team/app", True),
        ("registry.example.com:5000/team/app:v1", True),
        ("registry.example.com/team/app@sha256:00", True),
        ("registry.example.com/team/app:v1@sha256:00", True),
        ("localhost/team/app", True),
        ("team/app", True),
        ("app", True),
        ("registry.example.com/cache/team/app", True),
        ("registry.example.com/other/app", False),
        ("registry.example.com/team/app2", False),
        ("registry.example.com/xteam/app", False),
        ("registry.example.com/", False),
        ("registry.example.com", False),
        (":v1", False),
        ("@sha256:00", False),
    ],
)
def test_names_in_signatures(reference: str, same: bool) -> None:
    assert cosign.is_same_image(reference, IMAGE) is same


def test_old_payloads_with_capitals_and_without_a_name(layout: Layout, signer: Signer) -> None:
    what = layout.image()
    value = {
        "Critical": {
            "Identity": {"docker-reference": ""},
            "Image": {"Docker-manifest-digest": what.digest},
            "Type": "cosign container image signature",
        },
        "Optional": None,
    }
    layer = signer.layer(layout, what, NAMED, payload=json.dumps(value).encode())
    assert unsigned(by_tag(layout, what, layer), signer) == {}


# Made once by sigstore's own library for Go (version 1.8.12, signature, payload and DSSE), for
# the image registry.example.com/team/app at the digest "a" * 64.
_GO_KEY = b"""-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAElgMZpDlX2e2sS1uGLpBzTh7Kd9xx
cfnUk3jkbJ1mRK3BBSTu0O2EeszeDqJI+4EoPv4kZpb885UpF2xIHZG+VQ==
-----END PUBLIC KEY-----
"""
_GO_SIGNATURE = (
    "MEUCIDs6JmDN5uaFKxyF3/F6O1a9Q5TCzi8p0woZOMd2l/o2AiEAmuNy/dVRcfL+KTaQ+LFEZoTe9RXw"
    "CmlGGZIrcGwmX5k="
)
_GO_ENVELOPE = (
    "MEUCIQD8adnpviY1fivIa2bEaaHka4E38ZB3dGBc6tCRhD0TaAIgKVsqU4JIjMw4chRVxA2Qkym9XFfg"
    "7mRBRAhoHgQtQlA="
)


def test_what_sigstores_own_library_signed() -> None:
    keys, digest = pubkeys.read_keys(_GO_KEY), f"sha256:{'a' * 64}"
    payload = simple_signing(digest, NAMED)
    claim = cosign.Claim(cosign.SIMPLE, digest, len(payload), _GO_SIGNATURE)
    assert cosign.verify(IMAGE, digest, [(claim, payload)], keys) == keys[0].fingerprint
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": "a" * 64}}],
        "predicateType": "https://sigstore.dev/cosign/sign/v1",
        "predicate": {},
    }
    envelope = {
        "payloadType": "application/vnd.in-toto+json",
        "payload": base64.b64encode(json.dumps(statement).encode()).decode(),
        "signatures": [{"keyid": "", "sig": _GO_ENVELOPE}],
    }
    body = json.dumps({"dsseEnvelope": envelope}).encode()
    claim = cosign.Claim(cosign.BUNDLE, digest, len(body))
    assert cosign.verify(IMAGE, digest, [(claim, body)], keys) == keys[0].fingerprint


def test_key_files() -> None:
    first, second = Signer(), Signer("rsa")
    found = pubkeys.read_keys(b"note\n" + first.public + second.public + first.public)
    assert [key.kind for key in found] == ["ECDSA P-256", "RSA 2048"]
    assert all(len(key.fingerprint) == 64 for key in found)
    crlf = first.public.replace(b"\n", b"\r\n")
    assert pubkeys.read_keys(crlf)[0].fingerprint == found[0].fingerprint


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no public key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "cannot be read"),
        (b"-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\n", "private key"),
        (b"x" * (pubkeys.MAX_BYTES + 1), "more than"),
        (b"-----BEGIN PUBLIC KEY-----\n" * 2000, "no public key"),
    ],
)
def test_key_files_that_are_none(data: bytes, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        pubkeys.read_keys(data)
