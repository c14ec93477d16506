"""Environment variables that travel with a job, so that nobody reads them on the way.

Ray writes a job's `env_vars` as they are into the logs of every node and into what its API tells of the
job. So they travel sealed with a key made from the cluster's token, which is on both sides anyway, and are
opened in the job's driver and in each of its workers before anything else runs there.
"""

import base64
import json
import os
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from jobs.cluster import SEALED
from jobs.job_cluster import cluster_token
from model.errors import UserError

HOOK = "jobs.job_environment.unseal"
"""For Ray's `worker_process_setup_hook`."""


def chosen_variables(names: Sequence[str]) -> dict[str, str]:
    """The variables of this process that `names` name; `AWS_*` names all that begin so.

    Raises `UserError` for one that is not set, and for Ray's own.
    """
    chosen: dict[str, str] = {}
    for pattern in names:
        found = {n: v for n, v in os.environ.items() if fnmatchcase(n, pattern)}
        if not found:
            raise UserError(f"--env {pattern}: is not set here")
        chosen |= found
    for name in chosen:
        if name.startswith("RAY_"):
            raise UserError(f"--env {name}: Ray's own variables are the cluster's")
    return chosen


def seal(variables: Mapping[str, str], token: str) -> str:
    """The variables as one text that only who has the token can read (Fernet: AES-128 and HMAC-SHA256)."""
    return _cipher(token).encrypt(json.dumps(dict(variables)).encode()).decode()


def unseal() -> None:
    """Set the variables that came with this job, if some did. Raises `UserError` where they do not open."""
    sealed = os.environ.get(SEALED)
    if not sealed:
        return
    token = cluster_token()
    try:
        if token is None:
            raise InvalidToken
        content = _cipher(token).decrypt(sealed.encode())
    except InvalidToken:
        raise UserError(
            "the environment that came with this job does not open: this node has another Ray token than "
            "the one that the job was submitted with, or none"
        ) from None
    os.environ.update(json.loads(content))


def _cipher(token: str) -> Fernet:
    key = HKDF(SHA256(), length=32, salt=None, info=b"huetrack job environment")
    return Fernet(base64.urlsafe_b64encode(key.derive(token.encode())))
