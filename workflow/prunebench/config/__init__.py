"""What may be said: the entries of catalogs, the config, and the words for what is wrong with them."""
