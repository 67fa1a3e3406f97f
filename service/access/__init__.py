"""Who may ask: keys, origins, visitors, limits."""
