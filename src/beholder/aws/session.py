"""Sessions of botocore that share what they read: the descriptions of AWS's services take megabytes."""

import functools
from typing import Any

import botocore.loaders
import botocore.session

__all__ = ["new_session"]


def new_session() -> Any:
    """Return a session of its own configuration and handlers.

    Raises:
        botocore.exceptions.BotoCoreError: AWS_PROFILE names a profile that does not exist.
    """
    session = botocore.session.get_session()
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    return session


@functools.cache
def _loader(data_path: str | None) -> Any:
    return botocore.loaders.create_loader(data_path)
