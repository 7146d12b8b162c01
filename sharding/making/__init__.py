"""From a source to a set that is whole, or goes on after a kill."""
