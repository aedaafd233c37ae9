"""`python -m services.tracking.health`: exit 0 when MLflow answers a query, 1 with the reason otherwise.

MLflow's own /health says 200 with its database dead. This runs every few seconds, so it imports the standard library alone.
"""

import base64
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

TIMEOUT_SECONDS = 3.0


def ask(url: str, password_file: Path | None = None, timeout: float = TIMEOUT_SECONDS) -> str | None:
    """None when experiments were read from the database, else why not. `password_file`: of `admin`, where accounts are used."""
    headers = {"Content-Type": "application/json"}
    try:
        if password_file is not None:
            login = f"admin:{password_file.read_text(encoding='utf-8').strip()}"
            headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        query = urllib.request.Request(
            f"{url}/api/2.0/mlflow/experiments/search", json.dumps({"max_results": 1}).encode(), headers, method="POST"
        )
        with urllib.request.urlopen(query, timeout=timeout) as answer:
            json.load(answer)
    except urllib.error.HTTPError as error:
        error.close()
        return f"MLflow answers a query with {error.code}"
    except (OSError, ValueError) as error:
        return f"MLflow does not answer a query: {error}"
    return None


def main() -> None:
    port = os.environ.get("MDMT_TRACKING_PORT") or "5000"
    accounts = os.environ.get("MDMT_TRACKING_ACCOUNTS", "").lower() in ("1", "true")
    password = Path(os.environ.get("MDMT_ADMIN_PASSWORD_FILE") or "/run/secrets/mlflow_admin_password")
    sys.exit(ask(f"http://127.0.0.1:{port}", password if accounts else None))


if __name__ == "__main__":
    main()
