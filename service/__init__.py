"""The chat service's modules; the chat itself is in `chatbot.py`, next to this package."""

VERSION = "0.1.0"
