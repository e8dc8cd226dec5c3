"""What `prunebench new` copies: working plug-ins, to be changed."""
