"""What zone.yaml says, as immutable values.

Paths are absolute if the zone's folder is. Sizes are bytes, durations seconds,
rates bytes a second, shares fractions from 0.0 to 1.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from manifests.bundle.manifest import WIRE
from manifests.cron import Cron, parse_cron
from manifests.formats.oci.rules import Asked
from manifests.zone.notices import NOBODY, Notices
from manifests.zone.served import Serve

GIB = 1 << 30
DAY = 86_400.0


SUNDAYS = parse_cron("30 4 * * 0")


class ZoneKind(StrEnum):
    OUTSIDE = "outside"
    INSIDE = "inside"


class Metadata(StrEnum):
    """Whether an upstream's indexes cross as they are or are made anew."""

    AUTO = "auto"
    VERBATIM = "verbatim"
    DERIVED = "derived"


class After(StrEnum):
    """What becomes of a part in the inbox once it is no longer needed there."""

    DELETE = "delete"
    KEEP = "keep"
    MOVE = "move"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Exactly one of ``path`` (SQLite) and ``url`` (PostgreSQL, without a password) is set."""

    path: Path | None = None
    url: str | None = None
    password_file: Path | None = None

    @property
    def address(self) -> str:
        """The ledger as a URL; the password is not in it."""
        return self.url or f"sqlite:///{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """What `sluice run` tidies by itself; None: it does not."""

    gc: Cron | None = SUNDAYS
    quarantine: float | None = 90 * DAY
    """Seconds after which a refused file goes."""
    wants: float | None = 180 * DAY
    """Seconds after which a want goes that nobody asked for again."""
    events: float | None = 365 * DAY
    """Seconds after which events may leave the ledger for an archive in the store."""
    changes: float | None = None
    """Seconds after which `gc` lets go of the items that a bundle changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What both kinds of zone have."""

    folder: Path
    ledger: Ledger
    version: int = 1
    reserve_free: int = GIB
    log_level: str = "info"
    repository_key: Path | None = None
    """OpenPGP private key that signs derived metadata."""
    timezone: str = "UTC"
    """Name in the time zone database; schedules are meant in it."""
    upkeep: Upkeep = Upkeep()
    metrics: Path | None = None
    """The file that `sluice run` keeps for Prometheus."""
    notices: Notices = NOBODY


@dataclass(frozen=True, slots=True, kw_only=True)
class Nexus:
    """A repository of a Nexus Repository 3. ``url`` is the server's, without a trailing ``/``."""

    url: str
    repository: str

    @property
    def content(self) -> str:
        """Where its files are."""
        return f"{self.url}/repository/{self.repository}/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """Mirrors in the order to try them, or one address that lists them.

    Exactly one of ``urls``, ``mirrorlist`` and ``system`` is set. All ``urls`` have the same
    ``scheme`` family and end in ``/``.
    """

    urls: tuple[str, ...] = ()
    mirrorlist: str | None = None
    system: bool = False
    """Whatever the machine's own Maven is set to."""
    nexus: Nexus | None = None
    """What lists the files below ``urls``."""

    @property
    def transport(self) -> str:
        """``rsync``, ``http`` (https too) or ``file``."""
        if self.system:
            return "http"
        scheme = (self.mirrorlist or self.urls[0]).partition(":")[0]
        return "http" if scheme == "https" else scheme


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which files are wanted. Empty means all of them."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()
    newest: int | None = None
    """How many versions of each package; None for all."""

    def __bool__(self) -> bool:
        return bool(self.include or self.exclude or self.arches or self.newest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How an upstream is reached."""

    bandwidth: int | None = None
    username: str | None = None
    password_file: Path | None = None
    password: str | None = field(default=None, repr=False)
    """Known only while running; zone.yaml never holds one."""
    proxy: str | None = None
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    timeout: float = 60.0
    retries: int = 4
    parallel: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Signers:
    """Whose OpenPGP signatures are demanded; no ``signed_by``, no check."""

    signed_by: tuple[Path, ...] = ()
    check_packages: bool = False


@dataclass(frozen=True, slots=True)
class Login:
    """Who may use something of ours. The password stands alone in its file."""

    username: str
    password_file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Maven:
    """What is asked of a Maven repository besides what builds were captured to need."""

    artifacts: tuple[str, ...] = ()
    """Coordinates, each wanted with its closure."""
    boms: tuple[str, ...] = ()
    """Coordinates of BOMs, each wanted with all that it manages."""
    projects: tuple[Path, ...] = ()
    """POMs whose dependencies and plugins are wanted."""
    sources: bool = False
    javadoc: bool = False
    signatures: bool = False
    """Whether ``.asc`` files come along; needed to check signatures of packages."""
    listen: tuple[str, int] | None = None
    """Host and port of the capturing proxy that build servers use."""
    login: Login | None = None
    """What that proxy asks of them; None: nothing."""

    @property
    def asks(self) -> bool:
        """Whether anything is named."""
        return bool(self.artifacts or self.boms or self.projects)


@dataclass(frozen=True, slots=True, kw_only=True)
class Oci:
    """What is asked of a registry."""

    asked: Asked = field(default_factory=Asked)
    auth_file: Path | None = None
    """Where podman and Docker keep the names and passwords of registries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository that an outside zone mirrors."""

    name: str
    format: str
    upstream: Upstream
    keep: int = 5
    """Snapshots that are kept."""
    signers: Signers = Signers()
    filters: Filters = Filters()
    metadata: Metadata = Metadata.AUTO
    max_removals: float = 0.3
    extra: tuple[str, ...] = ()
    """Paths below the upstream that no index names, such as a vendor's key file."""
    together: str | None = None
    schedule: Cron | None = None
    """When `sluice run` mirrors it; None: only by hand."""
    connection: Connection = Connection()
    maven: Maven = Maven()
    oci: Oci = Oci()


@dataclass(frozen=True, slots=True, kw_only=True)
class PartNames:
    """What the guard lets pass: ``prefix...suffix``, and then the marker if there is one."""

    prefix: str = ""
    suffix: str = ".tar"
    """Inside empty unless it is set: a CDS may rename parts, their identity is in the head."""
    done_marker: str | None = None
    """Suffix of the empty file that says that a part is whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retain:
    """When sent files are ended in an outbox that the CDS mirrors. At least one is set."""

    age: float | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """PEM files: our certificate and its key, and the other side's certificate, pinned."""

    cert: Path
    key: Path
    pin: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpSending:
    """Where the carrier ``tcp`` sends to, and how."""

    host: str
    port: int
    rate: int | None = None
    repeat: int = 64 << 20
    """Bytes of parts before a broken connection that are sent again after it."""
    timeout: float = 60.0
    tls: Tls | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpListening:
    """Where the carrier ``tcp`` listens, and what it bears."""

    host: str
    port: int
    connections: int = 8
    max_part: int = 16 * GIB
    timeout: float = 60.0
    tls: Tls | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideStream:
    name: str
    carrier: str
    keys: Path
    outbox: Path | None = None
    """Of the carrier ``file``."""
    tcp: TcpSending | None = None
    media: Path | None = None
    """Where the carrier ``media`` writes volumes of at most ``volume`` bytes."""
    volume: int | None = None
    part_size: int = GIB
    repositories: tuple[str, ...] = ()
    """Names of the repositories that cross; always written out."""
    resend_window: int = 0
    """Bundles by which the base is moved back."""
    max_bundle: int | None = None
    """Bytes of all parts of a bundle; more crosses in several. None: no limit."""
    full_every: float | None = None
    """Seconds after which a bundle is a full one again; None: never."""
    heartbeat: float | None = None
    """Seconds without a bundle after which a heartbeat is sent; None: never."""
    wire: int = WIRE
    """The version of the wire that its bundles are written in."""
    retain: Retain | None = None
    names: PartNames = PartNames()


@dataclass(frozen=True, slots=True, kw_only=True)
class InsideStream:
    name: str
    carrier: str
    inbox: Path
    """Where parts lie until they are imported."""
    root: Path
    """The pinned root of trust."""
    tcp: TcpListening | None = None
    media: Path | None = None
    """Where media of the carrier ``media`` appear."""
    volume: int | None = None
    """Bytes that are taken of one of its volumes at most."""
    after: After = After.DELETE
    done: Path | None = None
    """Where ``After.MOVE`` moves parts to; set if, and only if, that is chosen."""
    settle: float = 2.0
    repositories: tuple[str, ...] | None = None
    """The outside's names of what may enter; None for all."""
    rename: Mapping[str, str]
    """The outside's name to ours."""
    silence: float | None = None
    """Seconds: how old the newest bundle may be before that is an alarm; None: any age."""
    mark: Path | None = None
    """The second place of the high-water mark; None: only the ledger has it."""
    names: PartNames = PartNames(suffix="")

    def local_name(self, theirs: str) -> str | None:
        """What the outside's repository is called here; None if it may not enter."""
        if self.repositories is not None and theirs not in self.repositories:
            return None
        return self.rename.get(theirs, theirs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    ignore: tuple[str, ...] = ()
    """Globs of what is never noted, and so never leaves the inside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideZone(Common):
    repositories: Mapping[str, Repository]
    streams: Mapping[str, OutsideStream]

    @property
    def kind(self) -> ZoneKind:
        return ZoneKind.OUTSIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class InsideZone(Common):
    streams: Mapping[str, InsideStream]
    require: Mapping[str, Signers]
    """By our name of the repository."""
    serve: Serve = field(default_factory=Serve)
    wants: Wants = Wants()

    @property
    def kind(self) -> ZoneKind:
        return ZoneKind.INSIDE


Zone = OutsideZone | InsideZone
