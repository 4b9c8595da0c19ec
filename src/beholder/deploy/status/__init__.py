"""What a deployment is doing: stack, web tier, queues, workers, decisions, failed starts and cost."""

from beholder.deploy.status.read import read_status
from beholder.deploy.status.seen import DeploymentStatus
from beholder.deploy.status.text import lines_of

__all__ = ["DeploymentStatus", "lines_of", "read_status"]
