"""What a measurement gives, and how it is written."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the page."""

    what: str
    against: str
    found: str
    must: str
    aim: str
    met: bool | None
    """None: not measured here."""
    note: str = ""


def markdown(rows: list[Row]) -> str:
    """Return a table."""
    verdict = {True: "yes", False: "**no**", None: "–"}
    lines = ["| what | against | found | must | aim | met | |", "|---|---|---|---|---|---|---|"]
    lines += [
        f"| {r.what} | {r.against} | {r.found} | {r.must} | {r.aim} | {verdict[r.met]} | {r.note} |" for r in rows
    ]
    return "\n".join(lines)
