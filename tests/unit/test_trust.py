"""The acceptance rules: what is believed, what a bundle may change, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata

from manifests import canonical
from manifests.caps import MAX_DOCUMENT
from manifests.digest import Digest, sha256_of
from manifests.documents import read_release, read_root
from manifests.errors import (
    ClockAhead,
    ExpiredDocument,
    ForeignRoot,
    ForkedStream,
    MalformedManifest,
    NotCanonical,
    TrustError,
    Unsigned,
    WireError,
)
from manifests.trust import (
    Accept,
    BundleFacts,
    Duplicate,
    Held,
    Late,
    TrustedRoot,
    TrustState,
    Verdict,
    expiring_soon,
    judge,
    verify_release,
    walk_roots,
)

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MANIFEST = b'{"a":"manifest"}'
BAD = (TrustError, WireError)

Signed = dict[str, Any]


def new_key(kind: str = "ed25519") -> CryptoSigner:
    if kind == "ecdsa":
        return CryptoSigner.generate_ecdsa(scheme="ecdsa-sha2-nistp384")
    return CryptoSigner.generate_ed25519()


def key_dict(key: CryptoSigner) -> Signed:
    return key.public_key.to_dict()


KEYS = {role: new_key() for role in ("root", "targets", "timestamp", "orders")}


def root_signed(
    keys: dict[str, list[CryptoSigner]] | None = None,
    *,
    version: int = 1,
    epoch: int = 1,
    stream: str = "hq",
    expires: datetime = NOW + 1000 * DAY,
    thresholds: dict[str, int] | None = None,
) -> Signed:
    """The signed part of a root document, made by hand so that tests may spoil it."""
    all_keys = {role: [key] for role, key in KEYS.items()} | (keys or {})
    roles: Signed = {
        role: {
            "keyids": [key.public_key.keyid for key in signers],
            "threshold": (thresholds or {}).get(role, 1),
        }
        for role, signers in all_keys.items()
    }
    orders = roles.pop("orders")
    roles["snapshot"] = {"keyids": [], "threshold": 1}
    return {
        "_type": "root",
        "consistent_snapshot": False,
        "expires": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "keys": {
            key.public_key.keyid: key_dict(key) for group in all_keys.values() for key in group
        },
        "roles": roles,
        "spec_version": "1.0.31",
        "version": version,
        "x-sluice": {"epoch": epoch, "format": 1, "orders": orders, "stream": stream},
    }


def release_signed(
    sequence: int = 1,
    manifest: bytes = MANIFEST,
    expires: datetime = NOW + 300 * DAY,
    role: str = "targets",
) -> Signed:
    entry: Signed = {"hashes": {"sha256": sha256_of(manifest)}, "length": len(manifest)}
    listing: Signed = {"targets": {"manifest.json": entry}}
    if role == "timestamp":
        listing = {"meta": {"snapshot.json": {**entry, "version": sequence}}}
    return {
        "_type": role,
        "expires": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "spec_version": "1.0.31",
        "version": sequence,
        **listing,
    }


def signature(signed: Signed, key: CryptoSigner, keyid: str | None = None) -> Signed:
    payload = encode_canonical(signed)
    assert payload is not None
    made = key.sign(payload.encode())
    return {"keyid": keyid or made.keyid, "sig": made.signature}


def envelope(signed: Signed, signatures: list[Signed]) -> bytes:
    signatures = sorted(signatures, key=lambda one: one["keyid"])
    return canonical.dumps({"signatures": signatures, "signed": signed})


def sign(signed: Signed, *keys: CryptoSigner) -> bytes:
    return envelope(signed, [signature(signed, key) for key in keys])


ROOT = sign(root_signed(), KEYS["root"])
TRUSTED = walk_roots([ROOT], [ROOT])
TARGETS = sign(release_signed(), KEYS["targets"])
HEARTBEAT = sign(release_signed(role="timestamp"), KEYS["timestamp"])


# Documents


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_signed_release_is_believed(kind: str) -> None:
    keys = {role: new_key(kind) for role in KEYS}
    root = sign(root_signed({role: [key] for role, key in keys.items()}), keys["root"])
    trusted = walk_roots([root], [root])
    release = verify_release(trusted, sign(release_signed(7), keys["targets"]), MANIFEST)
    assert (release.role, release.sequence) == ("targets", 7)
    assert release.manifest == sha256_of(MANIFEST)
    assert release.signers == (keys["targets"].public_key.keyid,)


def test_python_tuf_writes_the_same_bytes() -> None:
    for data in (ROOT, TARGETS, HEARTBEAT):
        assert Metadata.from_bytes(data).to_bytes() == data


def flips(data: bytes) -> list[bytes]:
    """The document with each byte changed, each bit of it by turns; some also in their case."""
    return [
        data[:place] + bytes([data[place] ^ (1 << (place % 8))]) + data[place + 1 :]
        for place in range(len(data))
    ] + [
        data[:place] + bytes([data[place] ^ 0x20]) + data[place + 1 :]
        for place in range(0, len(data), 5)
    ]


@pytest.mark.parametrize("name", ["targets", "timestamp", "root", "manifest"])
def test_every_flipped_byte_is_refused(name: str) -> None:
    documents = {"root": ROOT, "targets": TARGETS, "timestamp": HEARTBEAT, "manifest": MANIFEST}

    def believe(changed: bytes) -> None:
        mine = {**documents, name: changed}
        trusted = walk_roots([ROOT], [mine["root"]])
        verify_release(trusted, mine["targets"], mine["manifest"])
        verify_release(trusted, mine["timestamp"], mine["manifest"])

    believe(documents[name])  # the control
    for changed in flips(documents[name]):
        with pytest.raises(BAD):
            believe(changed)


def test_every_flipped_byte_of_a_new_root_is_refused() -> None:
    new_root = new_key()
    second = sign(root_signed({"root": [new_root]}, version=2), KEYS["root"], new_root)
    assert walk_roots([ROOT], [ROOT, second]).newest.version == 2
    for changed in flips(second):
        with pytest.raises(BAD):
            walk_roots([ROOT], [ROOT, changed])


def test_a_pinned_root_with_a_flipped_byte_is_refused() -> None:
    TrustState.fresh(ROOT)
    for changed in flips(ROOT):
        with pytest.raises(BAD):
            TrustState.fresh(changed)


def edited(data: bytes, edit: Callable[[Any], object], key: CryptoSigner | None = None) -> bytes:
    """The document after ``edit``; signed anew if ``key`` is given."""
    value = json.loads(data)
    edit(value)
    return sign(value["signed"], key) if key else canonical.dumps(value)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data + b"\n",
        lambda data: b" " + data,
        lambda data: json.dumps(json.loads(data), indent=1).encode(),
        lambda data: json.dumps(json.loads(data), separators=(", ", ":"), sort_keys=True).encode(),
        lambda data: json.dumps(
            {"signed": json.loads(data)["signed"], "signatures": json.loads(data)["signatures"]},
            separators=(",", ":"),
        ).encode(),
        lambda data: data.replace(b'"version":1', b'"version":1,"version":1'),
        lambda data: data.replace(b'"version":1', b'"version":1.0'),
        lambda data: data.replace(b'"signed"', b'"\\u0073igned"'),
        lambda data: edited(data, lambda v: v["signatures"].append(v["signatures"][0])),
    ],
)
def test_another_spelling_of_a_signed_document_is_not_canonical(
    spoil: Callable[[bytes], bytes],
) -> None:
    for data in (TARGETS, ROOT):
        with pytest.raises(NotCanonical):
            (read_root if data is ROOT else read_release)(spoil(data))


@pytest.mark.parametrize(
    "edit",
    [
        lambda v: v.update(note="unsigned"),
        lambda v: v["signatures"][0].update(note="unsigned"),
        lambda v: v["signatures"][0].update(sig=v["signatures"][0]["sig"].upper()),
        lambda v: v["signatures"][0].update(sig=" " + v["signatures"][0]["sig"]),
        lambda v: v["signatures"][0].update(sig=5),
        lambda v: v["signatures"].append("x"),
        lambda v: v.update(signatures={}),
        lambda v: v.update(signed=[]),
    ],
)
def test_what_nobody_signed_is_refused(edit: Callable[[Any], object]) -> None:
    for data in (TARGETS, ROOT):
        with pytest.raises(MalformedManifest):
            (read_root if data is ROOT else read_release)(edited(data, edit))


@pytest.mark.parametrize(
    "edit",
    [
        lambda s: s.update(note=1),
        lambda s: s.update(version=True),
        lambda s: s.update(version=0),
        lambda s: s.update(spec_version="2.0.0"),
        lambda s: s.update(expires="2031-1-01T00:00:00Z"),
        lambda s: s.update(_type="snapshot"),
        lambda s: s["targets"].update(other=s["targets"]["manifest.json"]),
        lambda s: s.update(targets={}),
        lambda s: s["targets"]["manifest.json"].update(custom={}),
        lambda s: s["targets"]["manifest.json"]["hashes"].update(md5="0" * 32),
        lambda s: s["targets"]["manifest.json"]["hashes"].update(sha256="A" * 64),
        lambda s: s["targets"]["manifest.json"].update(length=-1),
        lambda s: s.update(delegations={"keys": {}, "roles": []}),
    ],
)
def test_a_well_signed_release_of_another_form_is_malformed(edit: Callable[[Any], object]) -> None:
    with pytest.raises(MalformedManifest):
        read_release(edited(TARGETS, lambda v: edit(v["signed"]), KEYS["targets"]))


@pytest.mark.parametrize(
    "edit",
    [
        lambda s: s.update(note=1),
        lambda s: s["x-sluice"].update(note=1),
        lambda s: s["x-sluice"].update(format=2),
        lambda s: s["x-sluice"].update(stream="../hq"),
        lambda s: s["x-sluice"].pop("orders"),
        lambda s: s.pop("x-sluice"),
        lambda s: s["roles"].update(extra=s["roles"]["root"]),
        lambda s: s["roles"].pop("timestamp"),
        lambda s: s["roles"]["snapshot"]["keyids"].extend(s["roles"]["root"]["keyids"]),
        lambda s: s["roles"]["targets"].update(threshold=0),
        lambda s: s["roles"]["targets"].update(threshold=True),
        lambda s: s["roles"]["targets"].update(keyids=[]),
        lambda s: s["roles"]["targets"].update(keyids=["0" * 64]),
        lambda s: s["roles"]["targets"]["keyids"].append(s["roles"]["targets"]["keyids"][0]),
        lambda s: s["keys"].update({new_key().public_key.keyid: key_dict(new_key())}),
        lambda s: next(iter(s["keys"].values())).update(note=1),
        lambda s: next(iter(s["keys"].values())).update(scheme="rsassa-pss-sha256"),
        lambda s: next(iter(s["keys"].values())).update(keyval={"public": "00"}),
        lambda s: s.update(consistent_snapshot="no"),
    ],
)
def test_a_well_signed_root_of_another_form_is_malformed(edit: Callable[[Any], object]) -> None:
    with pytest.raises(MalformedManifest):
        read_root(edited(ROOT, lambda v: edit(v["signed"]), KEYS["root"]))


def test_too_large_documents_are_refused_before_they_are_parsed() -> None:
    with pytest.raises(MalformedManifest, match="at most"):
        read_root(b"{" * (MAX_DOCUMENT + 1))
    with pytest.raises(MalformedManifest, match="at most 1024"):
        walk_roots([ROOT], [ROOT] * 1025)
    with pytest.raises(MalformedManifest, match="at most"):
        walk_roots([ROOT], [b"x" * MAX_DOCUMENT] * 33)


# Thresholds


def two_of(*keys: CryptoSigner) -> TrustedRoot:
    root = sign(root_signed({"targets": list(keys)}, thresholds={"targets": 2}), KEYS["root"])
    return walk_roots([root], [root])


def test_two_persons_release_together_and_not_alone() -> None:
    one, two = new_key(), new_key()
    trusted = two_of(one, two)
    verify_release(trusted, sign(release_signed(), one, two), MANIFEST)
    for alone in (one, two):
        with pytest.raises(Unsigned, match="signed by 1 of the 2"):
            verify_release(trusted, sign(release_signed(), alone), MANIFEST)


def test_one_key_under_two_key_ids_counts_once() -> None:
    key = new_key()
    public = key.public_key
    twin = SSlibKey("f" * 64, public.keytype, public.scheme, public.keyval)
    signed = root_signed({"targets": [key]}, thresholds={"targets": 2})
    signed["keys"][twin.keyid] = twin.to_dict()
    signed["roles"]["targets"]["keyids"].append(twin.keyid)
    root = sign(signed, KEYS["root"])
    trusted = walk_roots([root], [root])
    release = release_signed()
    document = envelope(release, [signature(release, key), signature(release, key, twin.keyid)])
    with pytest.raises(Unsigned, match="signed by 1 of the 2"):
        verify_release(trusted, document, MANIFEST)


def test_one_key_under_two_key_ids_does_not_make_a_root() -> None:
    key = new_key()
    public = key.public_key
    signed = root_signed({"root": [key]}, thresholds={"root": 2})
    signed["keys"]["f" * 64] = public.to_dict()
    signed["roles"]["root"]["keyids"].append("f" * 64)
    root = envelope(signed, [signature(signed, key), signature(signed, key, "f" * 64)])
    with pytest.raises(Unsigned, match="signed by 1 of the 2"):
        TrustState.fresh(root)


def test_one_signature_given_twice_is_refused() -> None:
    one, two = new_key(), new_key()
    release = release_signed()
    twice = envelope(release, [signature(release, one)] * 2)
    with pytest.raises(NotCanonical, match="each key id once"):
        verify_release(two_of(one, two), twice, MANIFEST)


def test_a_wrong_or_strange_signature_spoils_an_otherwise_sufficient_set() -> None:
    release = release_signed()
    good = signature(release, KEYS["targets"])
    strange = signature(release, new_key())
    with pytest.raises(Unsigned, match="by no key of the role targets"):
        verify_release(TRUSTED, envelope(release, [good, strange]), MANIFEST)
    one, two = new_key(), new_key()
    root = sign(root_signed({"targets": [one, two]}), KEYS["root"])
    wrong = {**signature(release, two), "sig": signature(release, one)["sig"]}
    document = envelope(release, [signature(release, one), wrong])
    with pytest.raises(Unsigned, match="is wrong"):
        verify_release(walk_roots([root], [root]), document, MANIFEST)


@pytest.mark.parametrize("role", ["root", "timestamp", "orders"])
def test_the_keys_of_other_roles_release_nothing(role: str) -> None:
    with pytest.raises(Unsigned):
        verify_release(TRUSTED, sign(release_signed(), KEYS[role]), MANIFEST)


def test_without_signatures_nothing_is_believed() -> None:
    with pytest.raises(Unsigned, match="signed by 0 of the 1"):
        verify_release(TRUSTED, sign(release_signed()), MANIFEST)
    with pytest.raises(Unsigned):
        TrustState.fresh(sign(root_signed()))


def test_a_release_covers_exactly_its_manifest() -> None:
    with pytest.raises(Unsigned, match="not the one that was signed"):
        verify_release(TRUSTED, TARGETS, MANIFEST + b" ")


# Root chains


def chain_of_rotations(length: int) -> tuple[list[bytes], list[CryptoSigner]]:
    """Roots that each have a new root key and a new targets key."""
    roots, targets = [new_key() for _ in range(length)], [new_key() for _ in range(length)]
    chain = []
    for place in range(length):
        signed = root_signed(
            {"root": [roots[place]], "targets": [targets[place]]}, version=place + 1
        )
        signers = roots[max(0, place - 1) : place + 1]
        chain.append(sign(signed, *signers))
    return chain, targets


def test_a_rotation_survives_any_number_of_lost_bundles() -> None:
    chain, targets = chain_of_rotations(6)
    state = TrustState.fresh(chain[0])
    trusted = walk_roots(state.roots, chain)  # all bundles in between were lost
    assert trusted.newest.version == 6
    verify_release(trusted, sign(release_signed(), targets[5]), MANIFEST)
    state = TrustState.from_bytes(state.with_root(trusted).to_bytes())
    # A late bundle, made under version 3, brings a shorter chain: the newest root stays.
    late = walk_roots(state.roots, chain[:3])
    assert late.newest.version == 6
    with pytest.raises(Unsigned, match="signed by 0 of the 1"):
        verify_release(late, sign(release_signed(), targets[2]), MANIFEST)


def test_a_retired_key_may_have_signed_beside_a_current_one_but_does_not_count() -> None:
    old, kept, new = new_key(), new_key(), new_key()
    first = sign(root_signed({"targets": [old, kept]}), KEYS["root"])
    second = sign(root_signed({"targets": [kept, new]}, version=2), KEYS["root"])
    trusted = walk_roots([first], [first, second])
    release = verify_release(trusted, sign(release_signed(), old, kept), MANIFEST)
    assert release.signers == (kept.public_key.keyid,)
    with pytest.raises(Unsigned, match="signed by 0"):
        verify_release(trusted, sign(release_signed(), old), MANIFEST)


def test_an_inside_may_pin_a_later_root() -> None:
    chain, _ = chain_of_rotations(4)
    state = TrustState.fresh(chain[2])
    assert walk_roots(state.roots, chain).newest.version == 4
    assert walk_roots(state.roots, chain[:2]).newest.version == 3


def test_an_expired_root_in_the_middle_of_a_chain_does_no_harm() -> None:
    second = sign(root_signed(version=2, expires=NOW - DAY), KEYS["root"])
    third = sign(root_signed(version=3), KEYS["root"])
    assert walk_roots([ROOT], [ROOT, second, third]).newest.version == 3


def test_foreign_and_broken_chains_are_refused() -> None:
    chain, _ = chain_of_rotations(3)
    other, _ = chain_of_rotations(3)
    with pytest.raises(ForeignRoot, match="not the trusted one"):
        walk_roots(chain[:1], other)
    with pytest.raises(ForeignRoot, match="not the trusted one"):
        walk_roots(chain[1:2], other)
    with pytest.raises(Unsigned):
        walk_roots(chain[:1], [chain[0], other[1]])
    with pytest.raises(ForeignRoot, match="does not follow"):
        walk_roots(chain[:1], [chain[0], chain[2]])
    with pytest.raises(ForeignRoot, match="does not follow"):
        walk_roots(chain[:1], [chain[0], chain[0]])
    with pytest.raises(MalformedManifest, match="starts at version 2"):
        walk_roots(chain[:1], chain[1:])
    with pytest.raises(ForeignRoot, match="no root chain"):
        walk_roots(chain[:1], [])


def test_a_new_root_needs_the_old_keys_and_its_own() -> None:
    thief = new_key()
    signed = root_signed({"root": [thief]}, version=2)
    with pytest.raises(Unsigned, match="under root version 1"):
        walk_roots([ROOT], [ROOT, sign(signed, thief)])
    with pytest.raises(Unsigned, match="under root version 2"):
        walk_roots([ROOT], [ROOT, sign(signed, KEYS["root"])])


def test_a_root_keeps_its_stream_and_never_lowers_the_epoch() -> None:
    for signed in (root_signed(version=3, stream="lab"), root_signed(version=3, epoch=1)):
        second = sign(root_signed(version=2, epoch=2), KEYS["root"])
        with pytest.raises(ForeignRoot, match="cannot follow"):
            walk_roots([ROOT], [ROOT, second, sign(signed, KEYS["root"])])


# Verdicts


def digest(sequence: int, fork: str = "") -> Digest:
    return sha256_of(f"{sequence}{fork}".encode())


def facts(sequence: int, **more: Any) -> BundleFacts:
    base: dict[str, Any] = {
        "stream": "hq",
        "epoch": 1,
        "sequence": sequence,
        "previous": digest(sequence - 1) if sequence > 1 else None,
        "created": NOW,
        "manifest": digest(sequence),
    }
    return BundleFacts(**{**base, **more})


def offer(
    state: TrustState,
    what: BundleFacts,
    *,
    trusted: TrustedRoot = TRUSTED,
    now: datetime = NOW,
    expires: datetime = NOW + 300 * DAY,
    role: str = "targets",
    known: dict[int, Digest] | None = None,
) -> Verdict:
    manifest = f"{what.sequence}".encode()
    release = verify_release(
        trusted,
        sign(release_signed(what.sequence, manifest, expires, role), KEYS[role]),
        manifest,
    )
    release = replace(release, manifest=what.manifest)
    return judge(state, trusted, release, what, now=now, known=known)


FRESH = TrustState.fresh(ROOT)


def after(*sequences: int) -> TrustState:
    state = FRESH
    for sequence in sequences:
        verdict = offer(state, facts(sequence))
        assert isinstance(verdict, Accept)
        state = verdict.state
    return state


def test_the_next_bundle_is_accepted_and_moves_everything_on() -> None:
    verdict = offer(after(1), facts(2, created=NOW + timedelta(hours=1)))
    assert isinstance(verdict, Accept)
    assert verdict.changes_state
    assert not verdict.missing
    state = verdict.state
    assert (state.sequence, state.released, state.manifest) == (2, 2, digest(2))
    assert state.time_floor == NOW + timedelta(hours=1)
    assert TrustState.from_bytes(state.to_bytes()) == state


def test_a_gap_is_named() -> None:
    verdict = offer(after(1), facts(5))
    assert isinstance(verdict, Accept)
    assert list(verdict.missing) == [2, 3, 4]
    assert verdict.state.sequence == 5


def test_duplicate_and_late_bundles_change_nothing() -> None:
    state = after(1, 4)
    assert offer(state, facts(4)) == Duplicate()
    assert offer(state, facts(2)) == Late()
    assert offer(state, facts(2), expires=NOW - DAY) == Late()


def test_two_manifests_for_one_sequence_are_a_fork() -> None:
    state = after(1, 4)
    with pytest.raises(ForkedStream, match="sequence 4 has two manifests"):
        offer(state, facts(4, manifest=digest(4, "fork")))
    with pytest.raises(ForkedStream, match="sequence 4"):
        offer(state, facts(5, previous=digest(4, "fork")))
    known = facts(4).claims()
    assert known == {4: digest(4), 3: digest(3)}
    with pytest.raises(ForkedStream, match="sequence 3"):
        offer(state, facts(3, manifest=digest(3, "fork")), known=known)
    assert offer(state, facts(3), known=known) == Late()


def test_a_bundle_from_the_future_is_held_with_both_times() -> None:
    assert isinstance(offer(after(1), facts(2, created=NOW + DAY)), Accept)
    verdict = offer(after(1), facts(2, created=NOW + DAY + timedelta(seconds=1)))
    assert isinstance(verdict, Held)
    assert isinstance(verdict.reason, ClockAhead)
    assert "2030-01-02T12:00:01Z" in str(verdict.reason)
    assert "2030-01-01T12:00:00Z" in str(verdict.reason)


def test_expired_documents_are_held() -> None:
    verdict = offer(after(1), facts(2), expires=NOW)
    assert isinstance(verdict, Held)
    assert isinstance(verdict.reason, ExpiredDocument)
    assert "targets document expired on 2030-01-01T12:00:00Z" in str(verdict.reason)
    assert isinstance(offer(after(1), facts(2), expires=NOW + timedelta(seconds=1)), Accept)
    old = sign(root_signed(expires=NOW), KEYS["root"])
    verdict = offer(TrustState.fresh(old), facts(2), trusted=walk_roots([old], [old]))
    assert isinstance(verdict, Held)
    assert "root version 1 expired" in str(verdict.reason)


def test_a_clock_that_was_set_back_brings_nothing_back_to_life() -> None:
    state = after(1)
    assert state.time_floor == NOW
    past = NOW - 20 * DAY
    verdict = offer(state, facts(2, created=past), now=past, expires=NOW - 10 * DAY)
    assert isinstance(verdict, Held)
    assert isinstance(verdict.reason, ExpiredDocument)


def test_an_older_created_time_never_moves_the_floor_back() -> None:
    verdict = offer(after(1), facts(2, created=NOW - 5 * DAY))
    assert isinstance(verdict, Accept)
    assert verdict.state.time_floor == NOW


def test_another_stream_is_foreign() -> None:
    with pytest.raises(ForeignRoot, match="speaks for hq"):
        offer(FRESH, facts(1, stream="lab"))


def test_only_a_root_starts_an_epoch() -> None:
    state = after(1, 2, 3)
    with pytest.raises(ForeignRoot, match="only a root starts an epoch"):
        offer(state, facts(1, epoch=2))
    second = sign(root_signed(version=2, epoch=2), KEYS["root"])
    trusted = walk_roots(state.roots, [ROOT, second])
    state = state.with_root(trusted)
    assert offer(state, facts(4), trusted=trusted) == Late()
    verdict = offer(state, facts(1, epoch=2, manifest=digest(1, "new")), trusted=trusted)
    assert isinstance(verdict, Accept)
    assert (verdict.state.epoch, verdict.state.sequence, verdict.state.released) == (2, 1, 1)
    assert verdict.state.time_floor == NOW
    assert offer(verdict.state, facts(9), trusted=trusted) == Late()


def test_a_heartbeat_moves_the_mark_but_not_the_state() -> None:
    verdict = offer(after(1), facts(3, heartbeat=True), role="timestamp")
    assert isinstance(verdict, Accept)
    assert not verdict.changes_state
    assert list(verdict.missing) == [2]
    state = verdict.state
    assert (state.sequence, state.released) == (3, 1)
    # The bundle that the heartbeat overtook is still a release that was never in force.
    verdict = offer(state, facts(2))
    assert isinstance(verdict, Accept)
    assert verdict.changes_state
    assert (verdict.state.sequence, verdict.state.released) == (3, 2)
    assert verdict.state.manifest == digest(3)
    with pytest.raises(ForkedStream):
        offer(state, facts(4, previous=digest(3, "fork")))


def test_the_timestamp_key_releases_nothing_but_heartbeats() -> None:
    with pytest.raises(Unsigned, match="only a heartbeat"):
        offer(after(1), facts(2), role="timestamp")


def test_release_and_manifest_must_agree_on_the_sequence() -> None:
    release = verify_release(TRUSTED, TARGETS, MANIFEST)
    with pytest.raises(MalformedManifest, match="disagree"):
        judge(FRESH, TRUSTED, release, facts(2), now=NOW)
    with pytest.raises(MalformedManifest):
        facts(2, previous=None)
    with pytest.raises(MalformedManifest):
        facts(1, previous=digest(0))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 6), max_size=12), st.lists(st.booleans(), min_size=12, max_size=12))
def test_marks_never_go_back_in_whatever_order_bundles_come(
    order: list[int], fine: list[bool]
) -> None:
    state, highest = FRESH, 0
    for sequence, good in zip(order, fine, strict=False):
        verdict = offer(state, facts(sequence), expires=NOW + DAY if good else NOW - DAY)
        if isinstance(verdict, Accept):
            assert good
            assert sequence > highest
            assert verdict.state.sequence == verdict.state.released == sequence
            state, highest = verdict.state, sequence
        elif isinstance(verdict, Held):
            assert not good
            assert sequence > highest
        else:
            assert sequence <= highest
    assert state.sequence == highest


# What is remembered


def test_a_damaged_trust_state_is_refused() -> None:
    data = after(1, 2).to_bytes()
    assert TrustState.from_bytes(data).sequence == 2
    for spoiled in (data + b" ", data.replace(b'"sequence":2', b'"sequence":-2'), b"{}"):
        with pytest.raises((MalformedManifest, NotCanonical)):
            TrustState.from_bytes(spoiled)


def test_roots_of_another_walk_are_not_taken_over() -> None:
    other, _ = chain_of_rotations(1)
    with pytest.raises(ValueError, match="not walked from this state"):
        FRESH.with_root(walk_roots(other, other))


def test_warnings_come_before_the_expiry() -> None:
    root = TRUSTED.newest
    assert expiring_soon(TRUSTED, NOW) == []
    assert expiring_soon(root, root.expires - 180 * DAY) == [
        "root version 1 expires on 2032-09-27T12:00:00Z, in 180 days"
    ]
    assert expiring_soon(root, root.expires) == ["root version 1 expired on 2032-09-27T12:00:00Z"]
    documents = {"release 7": NOW + 10 * DAY, "release 8": NOW + 40 * DAY}
    assert expiring_soon(root, NOW, documents) == [
        "release 7 expires on 2030-01-11T12:00:00Z, in 10 days"
    ]
