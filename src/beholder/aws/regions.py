"""The regions of AWS's services, by the data that comes with botocore, without a call to AWS."""

from beholder.aws.session import new_session

__all__ = ["regions_of"]


def regions_of(service: str) -> frozenset[str]:
    """Return the regions of all partitions in which a service has an endpoint.

    Args:
        service: boto3's name of the service, such as 'sqs'.
    """
    session = new_session()
    return frozenset(
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions(service, partition)
    )
