"""The commented zone.yaml that ``sluice init`` writes.

``# text`` explains; ``#key: value`` is a setting that is switched on by removing
the ``#``, with everything at its place.
"""

from __future__ import annotations

from manifests.errors import ConfigError
from manifests.zone.model import ZoneKind
from manifests.zone.reader import NAME

_HEAD = """\
# zone.yaml: the settings of this {kind} zone of Sluice. A mistake is reported with its line.
# Lines like `#key: value` are switched off; remove the # to switch them on.
# Relative paths are relative to the folder of this file. Passwords never stand here.
zone: {kind}
version: 1
"""

_COMMON = """
# Everything below has the value that it has when it is not written, or an example.
#reserve_free: 1GiB                          # refuse work that would leave less on the disk
#ledger: postgresql://sluice@127.0.0.1/sluice # default: ledger.sqlite in this folder
#ledger_password_file: secrets/ledger        # or the environment variable SLUICE_LEDGER_PASSWORD
#repository_key: keys/repository.asc         # OpenPGP key that signs metadata made here
#log: {level: info}                          # debug, info, warning or error
#timezone: Europe/Berlin                     # of every schedule; default: UTC
#upkeep: {gc: "30 4 * * 0", quarantine: 90d, wants: 180d, events: 365d, changes: never}
                                             # what `sluice run` tidies, after how long; or never
#notices:                                    # who is told of holds, gaps and silence
  #syslog: {address: /dev/log, facility: daemon} # or udp://loghost:514, tcp://loghost:601
  #webhook: {url: "https://alerts.example.org/x", secret_file: secrets/webhook, ca_file: ca.pem}
  #kinds: [fork, signature, refused, silence, gap] # default: all
  #after: 1h                                 # what may pass by itself must have lasted so long
#metrics: /var/lib/node_exporter/sluice.prom # figures for Prometheus that `sluice run` keeps here
"""

_OUTSIDE = """
# What is mirrored. Names: a-z 0-9 . _ - only; they become part of the URL inside.
repositories:
  #baseos:
    #format: yum                             # yum, maven, oci, or files (any folder as it is)
    #upstream: "rsync://mirror.example.org/baseos/" # http(s)://, file://; [a, b] mirrors
    #signed_by: keys/vendor.asc              # who must have signed repomd.xml; or a list
    #check_packages: true                    # check the signature of every package too
    #schedule: "0 3 * * *"                   # when `sluice run` mirrors it, as crontab writes it
    #keep: 5                                 # snapshots to keep
    #max_removals: 30%                       # hold a sync that would drop more files (and > 20)
    #include: ["kernel*", "bash"]            # only these
    #exclude: ["*-debuginfo"]                # but not these
    #arches: [x86_64, noarch]                # only these architectures
    #newest: 2                               # only so many versions of each package
    #metadata: derived                       # or verbatim; default: derived if filtered
    #extra: [RPM-GPG-KEY-vendor]             # files that no index names
    #together: el9                           # publish at once with others of the same word
    #bandwidth: 10MiB                        # at most so much a second; or 800Mbit
    #username: mirror                        # for an upstream that asks
    #password_file: secrets/baseos           # its password, alone in a file
    #proxy: http://proxy.example.org:3128    # default: the environment (HTTPS_PROXY)
    #ca_file: keys/upstream-ca.pem           # whom to trust for https
    #client_cert: keys/client.pem            # who we are for https
    #client_key: keys/client.key             # and its key
    #timeout: 60s                            # give up on a silent upstream
    #retries: 4                              # attempts after the first
    #parallel: 4                             # downloads at a time
  #central:
    #format: maven
    #upstream: system                        # as this machine's Maven is set; or https://host/path/
    #artifacts: ["junit:junit:4.13.2"]       # each with all that it needs
    #boms: ["org.example:platform-bom:1.0"]  # all that these manage
    #projects: [builds/app/pom.xml]          # dependencies and plugins of these
    #include: {{sources: true, javadoc: false, signatures: false}} # beside dependencies; every file
    #capture: {{listen: "0.0.0.0:8082", username: build, password_file: secrets/capture}}
                                             # where builds outside find `sluice capture REPO`
  #vendor:
    #format: maven
    #upstream: {{nexus: "http://nexus.example.org:8081", repository: maven-releases}}
  #platform:
    #format: oci
    #upstream: https://registry.example.com  # or file:///path of an OCI layout or archive
    #images: [{{name: team/app, tags: ["v1.*", latest]}}, {{name: "base/*", newest: 3}}]
    #referrers: true                         # signatures and SBOMs too
    #signed_by: keys/cosign.pub              # who must have signed each image
    #replaces: registry.example.com          # the registry that clients inside know
    #strict: true                            # hold everything if one image fails
    #clients: docker-1.13                    # warn of images that these cannot pull
    #auth_file: secrets/auth.json            # names and passwords, as podman keeps them

# Where it goes: one stream for each inside zone.
streams:
  {off}{name}:
    {off}carrier: file                           # parts are files in a folder
    {off}outbox: {outbox}
    #keys: keys/{name}                       # the keys that sign this stream's bundles
    #part_size: 1GiB                         # the largest file that the CDS passes
    #repositories: [baseos]                  # default: all
    #resend_window: 0                        # repeat the content of so many earlier bundles
    #max_bundle: 100GiB                      # more than so much crosses in several bundles
    #full_every: 90d                         # make a bundle a full one now and then
    #heartbeat: 6h                           # `send` says that all is well after so long a silence
    #wire: 1                                 # for an inside whose Sluice reads no newer one
    #retain: {{age: 7d, size: 100GiB}}         # end sent files, where the CDS mirrors this folder
    #name_prefix: sluice-                    # file names, where a guard allows only some
    #name_suffix: .tar
    #done_marker: .done                      # an empty file beside each whole part; default: none
  #remote:
    #carrier: tcp                            # parts are frames on a connection that we open
    #to: "cds.example.org:9000"              # where `receive` listens, or the first relay
    #rate: 800Mbit                           # at most so fast; default: as fast as it goes
    #repeat: 64MiB                           # send so much again after a broken connection
    #timeout: 60s                            # give up when nothing goes away for so long
    #tls: {{cert: keys/out.pem, key: keys/out.key, pin: keys/in.pem}} # pin: the other's certificate
  #discs:
    #carrier: media                          # parts are files on media that a person carries
    #folder: /media/x                        # a medium is there, or volumes pile up
    #volume: 25GB                            # the most that goes on one
    #part_size: 1GiB
"""

_INSIDE = """
# Where bundles come from: one stream for each outside zone.
streams:
  {off}{name}:
    {off}carrier: file                           # parts are files in a folder
    {off}inbox: {inbox}
    {off}root: {root}                     # the outside's root of trust, pinned
    #after: move                             # delete (default), keep or move imported parts
    #done: imported                          # where to, with after: move
    #settle: 2s                              # leave a file alone until it has not grown so long
    #silence: 24h                            # alarm when the newest bundle is older than this
    #mark: /var/lib/sluice-mark/{name}.json  # second place of the high-water mark
    #repositories: [baseos]                  # let only these in; default: all
    #rename: {{baseos: el9-baseos}}            # their name: our name
    #name_prefix: sluice-                    # look only at such file names
    #name_suffix: .tar                       # default: any
    #done_marker: .done                      # wait for this file beside each part; default: none
  #remote:
    #carrier: tcp                            # parts come on connections to us
    #listen: "127.0.0.1:9000"
    #root: trust/remote.json
    #inbox: inbox/remote                     # where they lie until they are imported
    #connections: 8                          # at most so many at a time
    #max_part: 16GiB                         # refuse larger ones
    #timeout: 60s                            # drop a peer that brings no whole frame for so long
    #tls: {{cert: keys/in.pem, key: keys/in.key, pin: keys/out.pem}} # pin: the other's certificate
  #discs:
    #carrier: media                          # parts are files on media that a person brings
    #folder: /media/x
    #volume: 25GB                            # take no more than that from one; default: all
    #root: trust/discs.json

# Upstream signatures that are checked again here, with keys that a person brought in.
require:
  #el9-baseos:
    #signed_by: keys/vendor.asc
    #check_packages: true

# The server for dnf and others.
serve:
  listen: "127.0.0.1:8080"                   # "0.0.0.0:8080" for the whole network
  #workers: 1                                # processes
  #external_url: https://packages.example.org # how clients reach it, in /setup files
  #grace: 24h                                # files of the last publication stay fetchable so long
  #deny: []                                  # SHA-256 digests that are never served
  #groups: {{public: [central, vendor]}}      # several repositories as one; the first hit wins
  #registries:                               # images at a port or host name of their own
    #platform: {{listen: "0.0.0.0:5000", hosts: images.example.org, replaces: registry.example.com}}
  #tls: {{cert: keys/server.pem, key: keys/server.key}} # HTTPS; read again when they are renewed
  #ca_file: keys/ca.pem                      # who signed our certificate: /setup/ca.crt

# What clients asked for and did not get: `sluice wants`. What matches is never noted.
wants:
  #ignore: ["com.example.*"]                 # names of our own that must not leave the inside
"""


def commented_example(kind: ZoneKind, stream: str | None = None) -> str:
    """A valid zone.yaml that explains itself; ``stream`` is switched on if one is named.

    Raises ConfigError: ``stream`` is not a name.
    """
    if stream is not None and not NAME.fullmatch(stream):
        raise ConfigError(
            f"{stream[:80]!r} is not a name for a stream",
            remedy="use 1 to 64 of a-z 0-9 . _ - and begin with a letter or digit",
        )
    body = _OUTSIDE if kind is ZoneKind.OUTSIDE else _INSIDE
    return (
        _HEAD.format(kind=kind.value)
        + body.format(
            off="#" if stream is None else "",
            name=stream or "hq",
            outbox="outbox",
            inbox="inbox",
            root="trust/root.json",
        )
        + _COMMON
    )
