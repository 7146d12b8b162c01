"""Where a set is read from: a folder, or behind a URL, with retries and a cache of the node."""
