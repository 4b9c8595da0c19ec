"""The AWS room: the only room that uses boto3, below the adapters of SQS, S3, EC2 and CloudFormation.

`client` calls a service, counts the calls and translates the errors; `s3` tells what obstore, which speaks to
S3 by itself, does not know. boto3 is an optional extra, so nothing is imported here.
"""
