"""From YAML to a search space, and from a search space to trials."""
