"""One look for every table and figure."""
