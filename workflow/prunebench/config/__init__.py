"""Defines the form of catalog entries and of config files, and writes messages about mistakes in them."""
