"""The chat service's modules; `chatbot.py` beside this package is the chat itself."""

VERSION = "0.1.0"
