"""The OpenAI-compatible endpoint: what is asked, and what its streams say."""
