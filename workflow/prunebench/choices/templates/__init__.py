"""One module for each kind of plug-in: it works as it is, and `prunebench new` writes it under another name."""
