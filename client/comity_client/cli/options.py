"""Which home the commands work on."""

from pathlib import Path
from typing import Annotated

from comity_client.usualhome import HOME_VARIABLE, USUAL_HOME
from comity_host.options import home_option

DEFAULT_HOME = USUAL_HOME
HomeOption = Annotated[
    Path, home_option(DEFAULT_HOME, HOME_VARIABLE, "The institution's directory.")
]
