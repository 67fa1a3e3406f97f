"""The operator's commands; `manage.py` runs them."""
