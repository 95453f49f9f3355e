"""What everybody may import: records, errors, registry, configuration, run files. Nothing here imports torch."""
