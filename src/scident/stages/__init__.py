"""The seven stages: read, call plug-ins, write."""
