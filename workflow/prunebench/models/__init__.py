"""One file per architecture family: its blocks, which linears share an input, the roles in its FFN."""
