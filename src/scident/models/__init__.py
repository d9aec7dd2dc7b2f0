"""Methods, baselines and controls: one file each."""
