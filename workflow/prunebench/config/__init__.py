"""The form of catalog entries and of the config, and messages about mistakes in them."""
