"""What finished runs are like beyond averages: groups of targets, lists, curves, and a page of them all."""
