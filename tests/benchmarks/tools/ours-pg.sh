# EduRise Backup on a cluster: base backups read locally as root, each blob proved before it is written.
# OURS: the command to measure (default: `edurise-backup` on PATH). The catalog's server runs throughout, as in production.
KIND=pg
export EDURISE_CONFIG=$WORK/edurise-backup.toml
ours() { "${OURS:-edurise-backup}" "$@" -q; }
version() { "${OURS:-edurise-backup}" --version; }
init() {
    spool=$WORK/data/wal/main
    mkdir -p "$spool"; chown postgres: "$WORK" "$WORK/data" "$WORK/data/wal" "$spool"
    echo bench > "$WORK/passphrase"
    cat > "$EDURISE_CONFIG" <<END
data_directory = "$WORK/data"
host = "bench"
[repository]
location = "$REPO"
password_file = "$WORK/passphrase"
[catalog]
url = "host=$PGROOT/run port=55499 user=postgres dbname=postgres"
[[cluster]]
name = "main"
url = "host=$PGHOST port=$PGPORT user=postgres dbname=postgres"
[cluster.wal]
method = "archive"
END
    catalog
    ours repo init -r "$REPO" -p "$WORK/passphrase"
    # the segment lies where the receiver ships it from, whole and durable, before the server may drop it
    printf '#!/bin/sh\ncp "%s/$1" "%s/.$2" && sync "%s/.$2" && mv "%s/.$2" "%s/$2"\n' "$PGDATA" "$spool" "$spool" "$spool" "$spool" \
        > "$PGROOT/archive.d/ours"
    chmod 755 "$PGROOT/archive.d/ours"
}
# the catalog's server runs beside, as in production
catalog() {
    [ -S "$PGROOT/run/.s.PGSQL.55499" ] && return
    as_pg "$PGBIN/initdb" -D "$PGROOT/catalog" -U postgres > "$WORK/catalog.log"
    as_pg "$PGBIN/pg_ctl" -D "$PGROOT/catalog" -l "$PGROOT/catalog.log" -w \
        -o "-p 55499 -c listen_addresses= -c unix_socket_directories=$PGROOT/run" start >> "$WORK/catalog.log"
}
backup() { ours backup cluster || [ $? = 3 ]; }
verify() { ours repo check --read-data -r "$REPO" -p "$WORK/passphrase"; }
restore() { ours recover-to immediate --target "$1" --no-amcheck; }
pitr() { ours wal receive --once; ours recover-to "time:$2" --target "$1" --no-amcheck; }
forget() { ours repo forget --keep-last 1 --prune --grace 0 --max-removed 100% -r "$REPO" -p "$WORK/passphrase"; }
