"""The OpenAI-compatible endpoint: the requests to it, and the decoding of its streams."""
