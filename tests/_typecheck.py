"""The run-time type checker of the tests: shapes and types, an int where a float is asked for being fine."""

from beartype import BeartypeConf, beartype

typechecker = beartype(conf=BeartypeConf(is_pep484_tower=True))
