"""What a set is made from: files, what their names say, and which belong together."""
