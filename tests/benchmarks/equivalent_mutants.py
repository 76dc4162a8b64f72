"""Mutants that survive because they are not wrong: by reason, each as mutants.py prints it."""

EQUIVALENT: dict[str, list[str]] = {}
