"""Where an institution's home is unless somebody says otherwise."""

import os
from pathlib import Path

HOME_VARIABLE = "COMITY_CLIENT_HOME"
USUAL_HOME = Path("~/.comity/client")


def usual_home() -> Path:
    """Return where it is: as the environment says or, if it does not, in the user's directory."""
    return Path(os.environ.get(HOME_VARIABLE) or USUAL_HOME).expanduser().absolute()
