"""Sessions of botocore that share what they read, and the credentials of roles that they assumed.

The descriptions of AWS's services take megabytes.
"""

import functools
from typing import Any

import botocore.credentials
import botocore.loaders
import botocore.session

__all__ = ["new_session"]

# What STS and IAM Identity Center gave, by botocore's keys for role and profile. Without it, each client of a
# command would assume the role anew, and ask for the code of an MFA device again.
_assumed: dict[str, Any] = {}


def new_session(region: str | None = None) -> Any:
    """Return a session of its own configuration and handlers.

    Args:
        region: Where a role of a profile is assumed; None for the region that boto3 would use.

    Raises:
        botocore.exceptions.BotoCoreError: AWS_PROFILE names a profile that does not exist.
    """
    session = botocore.session.get_session()
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    # Made when it is first asked for, because it reads the session's variables.
    session.lazy_register_component(
        "credential_provider",
        lambda: botocore.credentials.create_credential_resolver(
            session, cache=_assumed, region_name=region or session.get_config_variable("region")
        ),
    )
    return session


@functools.cache
def _loader(data_path: str | None) -> Any:
    return botocore.loaders.create_loader(data_path)
