#!/bin/sh
# docker/backup.sh FOLDER: what cannot be computed again goes into FOLDER: MLflow's database and files. The stack may keep running.
# The database comes first: whatever a finished run names in it lies in the files by then.
set -eu
[ $# -eq 1 ] || { echo "usage: docker/backup.sh FOLDER" >&2; exit 2; }
. "$(dirname "$0")/overlays.sh"
umask 077
mkdir -p "$1"
[ -z "$(ls -A "$1")" ] || { echo "error: $1 is not empty: give another folder for each backup" >&2; exit 1; }
docker compose exec -T postgres pg_dump --username mdmt --format custom mlflow > "$1/database.dump"
docker compose exec -T mlflow tar --create --directory /artifacts . > "$1/artifacts.tar"
(cd "$1" && sha256sum database.dump artifacts.tar > SHA256SUMS)
echo "backup: $(du -sh "$1" | cut -f1) in $1"
