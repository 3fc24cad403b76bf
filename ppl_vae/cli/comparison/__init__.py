"""A table of many trainings: its cells from a YAML file, their processes, and what they found."""

__all__: list[str] = []
