"""Fixtures over ``tests.support``: keys, packages, repositories, servers and clients."""

from __future__ import annotations

import fcntl
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.internal.conjecture.providers import Constants, HypothesisProvider
from xdist.remote import Producer

from tests.support import samples, scratch
from tests.support.certs import Authority, Pair
from tests.support.dnf import Dnf, DnfRepo
from tests.support.gpg import GpgHome
from tests.support.hostile import HostileServer
from tests.support.maven import QUICK_START
from tests.support.nginx import Nginx
from tests.support.postgres import Postgres
from tests.support.rpms import RpmCache
from tests.support.rsyncd import Rsyncd
from tests.support.scheduling import ByFixture
from tests.support.yumrepo import YumRepo

# The same examples on every machine and no verdict by the clock: a failure is a failure.
settings.register_profile("sluice", derandomize=True, deadline=None)
settings.load_profile("sluice")
# Hypothesis also draws the constants that stand in the modules loaded so far. Which these are
# depends on the tests that this process ran before, and so did the examples.
assert "_local_constants" in vars(HypothesisProvider), "this Hypothesis names it otherwise"
HypothesisProvider._local_constants = Constants()  # type: ignore[assignment]
# Other examples in each run, and many: `make soak`.
settings.register_profile("soak", derandomize=False, deadline=None, max_examples=3000)
# What a shell starts in the background is deaf to Ctrl-C, and so is all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if (place := scratch.memory()) is not None:
    tempfile.tempdir = str(place)
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(place))
# For the Maven that Sluice runs itself.
os.environ.setdefault("MAVEN_OPTS", QUICK_START)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFixture:
    """Keep expensive fixtures in one process each."""
    return ByFixture(config, log)


@pytest.fixture(scope="session")
def shared_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for the whole test run, also when several workers share it."""
    base = tmp_path_factory.getbasetemp()
    # Each xdist worker has its own base folder below that of the run.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


def _shared_key(folder: Path, name: str) -> GpgHome:
    """The same key in every worker, each with its own home and agent."""
    secret = folder / f"{name}.secret"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not secret.exists():
            home = GpgHome.create(f"Example {name} <{name}@example.org>")
            secret.write_bytes(home.secret_key())
            return home
    return GpgHome.from_secret(secret.read_bytes(), name)


@pytest.fixture(scope="session")
def vendor_key(shared_dir: Path) -> Iterator[GpgHome]:
    """The key that signs packages and repomd.xml of the vendor."""
    with _shared_key(shared_dir, "vendor") as home:
        yield home


@pytest.fixture(scope="session")
def foreign_key(shared_dir: Path) -> Iterator[GpgHome]:
    """A valid key of somebody else."""
    with _shared_key(shared_dir, "foreign") as home:
        yield home


@pytest.fixture(scope="session")
def rpm_cache(shared_dir: Path) -> RpmCache:
    """Packages that are built once per test run."""
    return RpmCache(shared_dir / "rpms")


@pytest.fixture
def vendor_repo(tmp_path: Path, rpm_cache: RpmCache, vendor_key: GpgHome) -> YumRepo:
    """The signed sample repository, this test's own to change, with a kick-start tree."""
    return samples.vendor_repo(tmp_path / "vendor", rpm_cache, vendor_key, tree=True)


RsyncdFactory = Callable[..., Rsyncd]


@pytest.fixture
def rsyncd() -> Iterator[RsyncdFactory]:
    """``rsyncd({"baseos": folder}, users=...)`` starts a daemon that ends with the test."""
    with ExitStack() as stack:

        def start(
            modules: dict[str, Path],
            *,
            users: dict[str, str] | None = None,
            options: dict[str, str] | None = None,
        ) -> Rsyncd:
            return stack.enter_context(Rsyncd(modules, users=users, options=options))

        yield start


DnfFactory = Callable[..., Dnf]


@pytest.fixture
def dnf(tmp_path: Path) -> Iterator[DnfFactory]:
    """``dnf(DnfRepo(...), ...)`` makes a new client with an empty root each time."""
    made: list[Dnf] = []

    def make(*repos: DnfRepo) -> Dnf:
        made.append(Dnf(tmp_path / f"dnf{len(made)}", *repos))
        return made[-1]

    yield make
    for client in made:
        client.close()


NginxFactory = Callable[..., Nginx]


@pytest.fixture
def nginx() -> Iterator[NginxFactory]:
    """``nginx(folder, tls=..., client_ca=...)`` starts a server that ends with the test."""
    with ExitStack() as stack:

        def start(folder: Path, *, tls: Pair | None = None, client_ca: Path | None = None) -> Nginx:
            return stack.enter_context(Nginx(folder, tls=tls, client_ca=client_ca))

        yield start


@pytest.fixture
def hostile() -> Iterator[HostileServer]:
    """An HTTP upstream that answers what the test tells it to."""
    with HostileServer() as server:
        yield server


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority for TLS tests: ``authority.issue(name)``, ``authority.ca``."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL cluster for each test process."""
    with Postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """The SQLAlchemy URL of an empty PostgreSQL database that ends with the test."""
    url = postgres.create()
    yield url
    postgres.drop(url)
