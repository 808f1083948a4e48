"""The five roles of the program: each one a function that runs until it is cancelled, wired from the same process.

Owns wiring: which loop reads which topic with which handler. Does not own the loops, the handlers or the settings.
"""

from typing import Final, Literal

Role = Literal["ingest", "score", "alert", "store", "serve"]
ROLES: Final[tuple[Role, ...]] = ("ingest", "score", "alert", "store", "serve")
