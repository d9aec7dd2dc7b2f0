"""The members engine: many small models trained as one."""
