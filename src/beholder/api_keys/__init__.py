"""API keys: made by a person, kept hashed in the output bucket, checked by every web process."""

from beholder.api_keys.known import KnownKeys
from beholder.api_keys.records import ApiKey, KeyScope, NewKey, create_key, list_keys, revoke_key

__all__ = ["ApiKey", "KeyScope", "KnownKeys", "NewKey", "create_key", "list_keys", "revoke_key"]
