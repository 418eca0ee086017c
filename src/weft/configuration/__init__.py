"""Studies written as YAML: read with their lines, checked, and built of pipelines, inputs and options."""
