# EduRise Backup on a cluster: base backups read locally as root, each blob proved before it is written.
# OURS: the command to measure (default: `edurise-backup` on PATH). The catalog's server runs throughout, as in production.
# OURS_KEYS: further lines for [repository], as "check_blobs = false".
KIND=pg
export EDURISE_CONFIG=$WORK/edurise-backup.toml
ours() { "${OURS:-edurise-backup}" "$@" -q; }
version() { "${OURS:-edurise-backup}" --version; }
init() {
    echo bench > "$WORK/passphrase"
    cat > "$EDURISE_CONFIG" <<END
data_directory = "$WORK/data"
host = "bench"
[repository]
location = "$REPO"
password_file = "$WORK/passphrase"
${OURS_KEYS:-}
[catalog]
url = "host=$PGROOT/run port=55499 user=postgres dbname=postgres"
[[cluster]]
name = "main"
url = "host=$PGHOST port=$PGPORT user=postgres dbname=postgres"
[cluster.wal]
method = "archive"
socket = "$PGROOT/run/ours.sock"
ship_seconds = 5
END
    catalog
    ours repo init -r "$REPO" -p "$WORK/passphrase"
    receiver
    "${OURS:-edurise-backup}" wal archive-command main | sed -n "s/^archive_command = '\(.*\)'.*/\1/p" | sed "s#%p#\"$PGDATA/\$1\"#; s#%f#\"\$2\"#; s#^#exec #; 1i \#!/bin/sh" > "$PGROOT/archive.d/ours"
    chmod 755 "$PGROOT/archive.d/ours"
}
# the receiver takes segments from the server's archive_command, and ships them while others are measured, too
receiver() {
    [ ! -f "$PGROOT/run/ours.pid" ] || kill "$(cat "$PGROOT/run/ours.pid")" 2> /dev/null || true
    setsid "${OURS:-edurise-backup}" wal receive main < /dev/null > "$WORK/receiver.log" 2>&1 &
    echo $! > "$PGROOT/run/ours.pid"
    for _ in $(seq 100); do [ -S "$PGROOT/run/ours.sock" ] && return; sleep 0.1; done
}
# the catalog's server runs beside, as in production; a new one each time, which knows no other repository
catalog() {
    as_pg "$PGBIN/pg_ctl" -D "$PGROOT/catalog" -m immediate -w stop > /dev/null 2>&1 || true
    rm -rf "$PGROOT/catalog"
    as_pg "$PGBIN/initdb" -D "$PGROOT/catalog" -U postgres > "$WORK/catalog.log"
    as_pg "$PGBIN/pg_ctl" -D "$PGROOT/catalog" -l "$PGROOT/catalog.log" -w \
        -o "-p 55499 -c listen_addresses= -c unix_socket_directories=$PGROOT/run" start >> "$WORK/catalog.log"
}
backup() { ours backup cluster || [ $? = 3 ]; }
verify() { ours repo check --read-data -r "$REPO" -p "$WORK/passphrase"; }
restore() { ours recover-to immediate --target "$1" --no-amcheck; }
pitr() { ours recover-to "time:$2" --target "$1" --no-amcheck; }
forget() { ours repo forget --keep-last 1 --prune --grace 0 --max-removed 100% -r "$REPO" -p "$WORK/passphrase"; }
