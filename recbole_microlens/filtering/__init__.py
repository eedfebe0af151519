"""The content filters of the paper's data section: a release in, a smaller release and a report out."""
