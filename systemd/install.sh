#!/bin/sh
# Install Sluice, or upgrade it, on a machine without a network. Run as root from the
# unpacked archive:  ./install.sh
# It touches /opt/sluice, the unit sluice@.service and the user `sluice`. Zones below
# /var/lib/sluice that an older version made are upgraded, with a copy kept: those that run
# when they are restarted, the others now. --no-zones leaves them alone.
set -eu

cd "$(dirname "$0")"
version="$(cat VERSION)"
root=/opt/sluice

say() { echo "install.sh: $*"; }
fail() {
    echo "install.sh: $1" >&2
    echo "  -> $2" >&2
    exit 1
}

# Calls `sluice upgrade` of the program $1 on the zone in the folder $2, as its owner.
upgrade() {
    (
        program="$1" zone="$2" SLUICE_LEDGER_PASSWORD=''
        shift 2
        file="/etc/sluice/$(basename "$zone").env"
        [ ! -r "$file" ] ||
            SLUICE_LEDGER_PASSWORD="$(sed -n 's/^SLUICE_LEDGER_PASSWORD=//p' "$file")"
        export SLUICE_LEDGER_PASSWORD
        cd /
        runuser -u "$(stat -c %U "$zone")" -- "$program" -z "$zone" upgrade "$@"
    )
}

zones=yes
case "${1:-}" in
    '') ;;
    --no-zones) zones='' ;;
    -h|--help) sed -n '2,6s/^# //p' "$0"; exit 0 ;;
    *) fail "there is no option $1" "./install.sh --help" ;;
esac
[ "$(id -u)" = 0 ] || fail "this needs root" "sudo ./install.sh"
sha256sum --quiet -c SHA256SUMS ||
    fail "the archive is damaged" "carry it over again; nothing was changed"

python=''
for candidate in "${PYTHON:-}" python3.11 python3; do
    [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
    if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info[:2] != (3, 11))' \
        2>/dev/null; then
        python="$(command -v "$candidate")"
        break
    fi
done
[ -n "$python" ] || fail "Python 3.11 with its venv module is missing" \
    "from the installation media: Debian 12: python3 python3-venv; RHEL 8 and 9: python3.11"

missing=''
for command in rsync gpg gpgv rpmkeys; do
    command -v "$command" >/dev/null 2>&1 || missing="$missing $command"
done
[ -z "$missing" ] || fail "these programs are missing:$missing" \
    "from the installation media: Debian 12: rsync gpg gpgv rpm; RHEL: rsync gnupg2 rpm"
ldconfig -p 2>/dev/null | grep -q 'libglib-2.0.so.0' || fail "the library GLib is missing" \
    "from the installation media: Debian 12: libglib2.0-0; RHEL: glib2"

if ! getent passwd sluice >/dev/null; then
    useradd --system --home-dir /var/lib/sluice --shell /usr/sbin/nologin --user-group sluice
    say "made the user sluice"
fi
install -d -m 0755 "$root" "$root/bin"
install -d -m 0750 -o sluice -g sluice /var/lib/sluice

# A whole new folder beside the old one; one rename switches. A run that was broken off
# leaves a folder that nothing names, and the next one begins it anew.
new="$root/$version"
current="$(readlink "$root/current" 2>/dev/null || true)"
if [ "$current" = "$version" ] && [ -e "$new/complete" ] &&
    cmp -s requirements.txt "$new/requirements.txt"; then
    say "version $version is installed already"
else
    if [ "$current" = "$version" ]; then
        new="$root/$version-$(date +%Y%m%d%H%M%S)"  # the same version, built anew
    fi
    rm -rf "$new"
    "$python" -m venv "$new"
    "$new/bin/python" -m pip install --quiet --disable-pip-version-check --no-index \
        --find-links wheels --require-hashes -r requirements.txt
    cp requirements.txt "$new/requirements.txt"
    cp -r docs "$new/docs"
    cp alerts.yml grafana.json "$new/"
    touch "$new/complete"
    sync -f "$new"
    # What the new version cannot work with is found before anything is switched to it.
    for zone in ${zones:+/var/lib/sluice/*/}; do
        [ -e "$zone/zone.yaml" ] || continue
        upgrade "$new/bin/sluice" "${zone%/}" --dry-run ||
            fail "version $version cannot work with that zone; nothing was switched" \
                "do as it says above; or ./install.sh --no-zones"
    done
    ln -sfn "$(basename "$new")" "$root/current.new"
    mv -T "$root/current.new" "$root/current"
    say "version $version is installed in $new"
fi
ln -sfn ../current/bin/sluice "$root/bin/sluice"
[ -e /usr/local/bin/sluice ] || ln -s "$root/bin/sluice" /usr/local/bin/sluice

if [ -d /etc/systemd/system ]; then
    install -m 0644 sluice@.service /etc/systemd/system/sluice@.service
    systemctl daemon-reload 2>/dev/null || say "systemd does not run; the unit lies ready"
fi
"$root/bin/sluice" --version

if [ -n "$current" ] && [ "$current" != "$(readlink "$root/current")" ]; then
    for zone in ${zones:+/var/lib/sluice/*/}; do
        name="$(basename "$zone")"
        [ -e "$zone/zone.yaml" ] || continue
        systemctl is-active --quiet "sluice@$name" 2>/dev/null ||
            upgrade "$root/bin/sluice" "${zone%/}" ||
            say "the zone $name is not upgraded yet; its next start tries again"
    done
    say "running zones go on with the old version until: systemctl restart 'sluice@*'"
    say "(which upgrades them, with a copy kept: journalctl -u 'sluice@*')"
    say "to go back: ln -sfn $current $root/current, and restart; a zone that was upgraded"
    say "first by the newer version, stopped: sluice -z DIR upgrade --back COPY"
else
    say "next, as docs/operations.md says:"
    say "  su - -s /bin/bash sluice"
    say "  sluice init outside /var/lib/sluice/NAME --stream STREAM --root-key-to MEDIUM"
    say "  (or: sluice init inside /var/lib/sluice/NAME --root root.json)"
    say "  systemctl enable --now sluice@NAME"
fi
