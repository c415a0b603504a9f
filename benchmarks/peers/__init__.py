"""The others. Each file is run by itself, in an environment that has that peer and not this package."""
