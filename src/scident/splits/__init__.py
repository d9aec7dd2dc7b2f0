"""Which conditions are held out: one file per rule."""
