"""One file per architecture family: where its blocks are, which linears share an input, what its FFN looks like."""
