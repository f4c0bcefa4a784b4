"""One widget a file, drawn line by line."""
