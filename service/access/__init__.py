"""Access control: keys, origins, visitors and limits."""
