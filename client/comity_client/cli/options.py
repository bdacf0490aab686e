"""Which home the commands work on."""

from pathlib import Path
from typing import Annotated

from comity_host.options import home_option

DEFAULT_HOME = Path("~/.comity/client")
HomeOption = Annotated[
    Path, home_option(DEFAULT_HOME, "COMITY_CLIENT_HOME", "The institution's directory.")
]
