# Read by backup.sh and restore.sh. Compose gives containers what the chosen files say and no more: without the overlay of accounts with
# which the stack was started, MLflow would come back open to everybody who reaches it. Said at the backup, not in the night of a restore.
lost=no
containers=$(docker compose ps --all --quiet mlflow)
if [ -n "$containers" ]; then
    # shellcheck disable=SC2086 # several ids are several words
    has=$(docker inspect --format '{{json .Config.Env}}' $containers)
    would_have=$(docker compose config)
    case "$has" in *MDMT_TRACKING_ACCOUNTS=*) lost=yes ;; esac
    case "$would_have" in *MDMT_TRACKING_ACCOUNTS:*) lost=no ;; esac
fi
if [ $lost = yes ]; then
    echo "error: MLflow was started with accounts, and the compose files of this call have none; nothing was changed. Choose them in" \
        ".env: COMPOSE_FILE=docker-compose.yml:compose.auth.yml, and whatever else the stack has (docs/operations.md, Overlays)" >&2
    exit 1
fi
