"""The composition root: settings in, running processes out.

`profile_of` chooses the deployment's profile, the one place that asks which backends it uses. `local.py` and
`aws.py` are the profiles: all that differs between one machine and AWS. `web.py` and `worker.py` build one
process from a profile, and `machine.py` supervises all processes of `beholder up`.

A module of this room is imported where it is needed, and imports inside functions what only some processes
run: a worker needs no web framework, a web process no numpy, and one machine no boto3.
"""

from beholder.wiring.profile import Profile, profile_of

__all__ = ["Profile", "profile_of"]
