# EduRise Backup's dumps of a database: each blob proved before it is written, then deduplicated and encrypted.
# OURS, and the catalog's server, as in ours-pg.sh. A dump's restore is not measured here.
KIND=pg
source "$(dirname "${BASH_SOURCE[0]}")/ours-pg.sh"
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
[[database]]
name = "school"
url = "host=$PGHOST port=$PGPORT user=postgres dbname=$PGDATABASE"
END
    catalog
    ours repo init -r "$REPO" -p "$WORK/passphrase"
}
backup() { ours backup database || [ $? = 3 ]; }
restore() { echo "not measured here" >&2; return 1; }
unset -f pitr
