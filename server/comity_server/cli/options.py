"""Which home the commands work on."""

from pathlib import Path
from typing import Annotated

from comity_host.options import home_option

DEFAULT_HOME = Path("~/.comity/server")
HomeOption = Annotated[
    Path, home_option(DEFAULT_HOME, "COMITY_SERVER_HOME", "The operator's directory.")
]
