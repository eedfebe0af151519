"""Pictures of results and of data, at the width of a column: arrays in, a file out."""
