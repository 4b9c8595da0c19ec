"""The AWS room: the one place where beholder meets boto3, below the adapters of SQS, S3, EC2, CloudFormation.

`client` calls a service, counts the calls and sorts the errors by who must act; `s3` answers what obstore,
which speaks to S3 by itself, does not know. boto3 is an optional extra, so nothing is imported here.
"""
