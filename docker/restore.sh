#!/bin/sh
# docker/restore.sh FOLDER: makes the stack's MLflow what it was at a backup. What is there now is replaced; units that were trained
# since are trained again. An older backup is brought up to this version's tables.
set -eu
[ $# -eq 1 ] || { echo "usage: docker/restore.sh FOLDER" >&2; exit 2; }
(cd "$1" && sha256sum --quiet --check SHA256SUMS) || { echo "error: $1 is damaged, nothing was changed" >&2; exit 1; }
. "$(dirname "$0")/overlays.sh"
docker compose stop trainer serving mlflow
docker compose up --detach --wait postgres
docker compose exec -T postgres dropdb --username mdmt --force --if-exists mlflow
docker compose exec -T postgres createdb --username mdmt mlflow
docker compose exec -T postgres pg_restore --username mdmt --dbname mlflow --exit-on-error --no-owner < "$1/database.dump"
docker compose run --rm --no-deps -T mlflow sh -c 'find /artifacts -mindepth 1 -delete && tar --extract --directory /artifacts' \
    < "$1/artifacts.tar"
docker compose up --detach --wait mlflow
echo "restored: start the rest with docker compose up --wait"
