"""What there is to choose from, and adding to it: pages, parameters, lists, templates."""
