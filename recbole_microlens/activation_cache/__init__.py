"""The output of an encoder's frozen trunk for every item, computed once for all runs."""
