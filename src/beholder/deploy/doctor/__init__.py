"""What hinders a deployment, found before it is made and afterwards; every finding names what mends it."""

from beholder.deploy.doctor.before import check_before
from beholder.deploy.doctor.check import check
from beholder.deploy.doctor.finding import Finding, Level
from beholder.deploy.doctor.rights import policies_of

__all__ = ["Finding", "Level", "check", "check_before", "policies_of"]
