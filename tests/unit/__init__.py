"""A package, for `trial tests.unit tests.contract` looks into nothing else."""
