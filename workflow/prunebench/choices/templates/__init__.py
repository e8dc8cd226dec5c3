"""Has a working module for each kind of plug-in, which `prunebench new` copies under another name."""
