"""Read a MicroLens release folder and write RecBole atomic files."""
