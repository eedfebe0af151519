"""Full ranking with the history masked, metrics, groups of targets, and tables of several runs."""
