"""`python -m services.tracking.accounts`: the accounts of compose.auth.yml, made once and set right at every start.

trainer     logs runs and reads the registry: what units need, so that no code that trains can change what is served
promoter    registers versions and moves aliases too, and deletes: the training service, and people who promote by hand
server      reads the registry, nothing else
"""

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException

from services.tracking.settings import SecretUnreadable, Settings, read_secret

if TYPE_CHECKING:
    from mlflow.server.auth.client import AuthServiceClient

WORKSPACE = "default"
EVERYTHING = ("experiment", "registered_model")
GRANTS = {
    "trainer": {"workspace": "USE", "experiment": "EDIT", "registered_model": "READ"},
    "promoter": {"workspace": "USE", **dict.fromkeys(EVERYTHING, "MANAGE")},
    "server": dict.fromkeys(EVERYTHING, "READ"),
}
log = logging.getLogger(__name__)


def ensure(client: "AuthServiceClient", name: str, password: str) -> None:
    """One account with its role and the grants above, no more and no fewer; a changed password file changes the password."""
    try:
        client.get_user(name)
        client.update_user_password(name, password)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_user(name, password)
    roles = {role.name: role for role in client.list_roles(WORKSPACE)}
    role = roles.get(name) or client.create_role(WORKSPACE, name)
    if role.id not in {one.id for one in client.list_user_roles(name)}:
        client.assign_role(name, role.id)
    wanted = {(kind, "*", permission) for kind, permission in GRANTS[name].items()}
    known = {(one.resource_type, one.resource_pattern, one.permission): one.id for one in client.list_role_permissions(role.id)}
    for grant in known.keys() - wanted:
        client.remove_role_permission(known[grant])
    for kind, pattern, permission in wanted - known.keys():
        client.add_role_permission(role.id, kind, pattern, permission)


def main() -> None:
    from mlflow.server.auth.client import AuthServiceClient  # imports the whole server

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        os.environ["MLFLOW_TRACKING_USERNAME"] = "admin"
        os.environ["MLFLOW_TRACKING_PASSWORD"] = read_secret(Settings().admin_password_file)
        client = AuthServiceClient(os.environ.get("MLFLOW_TRACKING_URI", "http://mlflow:5000"))
        for name in GRANTS:
            ensure(client, name, read_secret(Path(f"/run/secrets/mlflow_{name}")))
    except (SecretUnreadable, MlflowException) as error:
        log.error("%s", error)
        sys.exit(1)
    log.info("accounts: %s", ", ".join(GRANTS))


if __name__ == "__main__":
    main()
