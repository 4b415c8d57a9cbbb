"""Random conversations at one bridge, interleaved, with much in common; none may hear a word of another."""
