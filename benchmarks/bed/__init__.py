"""A cluster on one machine: nodes in network namespaces, an S3 server, MLflow over PostgreSQL.

Tests in `tests/cluster` and the benchmarks of clusters and of faults run on it. It needs root.
"""
