"""A package, because `trial tests.unit tests.contract` only finds modules in packages."""
