"""Lists and documents the plug-ins and entries that a config can name, and adds new plug-ins from templates."""
