"""What hinders a deployment, found before it is made and afterwards; every finding names what mends it."""

from beholder.deploy.doctor.before import check_before
from beholder.deploy.doctor.check import check
from beholder.deploy.doctor.finding import Finding, Level

__all__ = ["Finding", "Level", "check", "check_before"]
