"""Complete small plug-ins that `scident new` copies; each works as it is and keeps every contract test."""
