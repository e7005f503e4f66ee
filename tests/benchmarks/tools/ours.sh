# EduRise Backup, local repository, each blob proved before it is written.
# OURS: the command to measure (default: `edurise-backup` on PATH).
KIND=files
export EDURISE_REPOSITORY=$REPO EDURISE_PASSWORD_FILE=$WORK/password
ours() { "${OURS:-edurise-backup}" repo "$1" -q "${@:2}"; }
version() { "${OURS:-edurise-backup}" --version; }
init() { echo bench > "$EDURISE_PASSWORD_FILE"; ours init; }
backup() { ours backup "$SRC"; }
verify() { ours check --read-data; }
where() { echo "$1$SRC"; }
restore() { ours restore latest --target "$1"; }
restore_one() { ours restore latest --target "$1" --include "$SRC/$ONE"; }
forget() { ours forget --keep-last 1 --prune --grace 0 --max-removed 100%; }
