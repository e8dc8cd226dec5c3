"""The estimate of what a study will take: operations, bytes and seconds, from the sizes of its models."""
