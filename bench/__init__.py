"""How fast the engine is, against the floating-point work it has to do; `make bench` writes docs/bench.md."""
